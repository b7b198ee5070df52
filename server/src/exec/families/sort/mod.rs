//! SORT and SORT_RO.

mod pattern;
mod request;
mod run;

use torc_protocol::command::{Command, SortCommand};
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: SortCommand, args: &Args<'_>) -> CommandResult {
    match command {
        SortCommand::Sort => run::sort(cx, args, true),
        SortCommand::SortRo => run::sort(cx, args, false),
    }
}

/// Whether a request looks at keys that it does not name: those that a pattern of BY or GET makes of elements.
pub fn sorts_by_keys(command: Command, args: &Args<'_>) -> bool {
    matches!(command, Command::Sort(_)) && args.tail(2).into_iter().any(pattern::names_keys)
}

#[cfg(test)]
mod tests {
    use crate::exec::testing::Harness;

    #[test]
    fn values_that_get_looks_up_are_bounded() {
        let mut t = Harness::new();
        let elements: Vec<_> = (0..9000).map(|n| n.to_string()).collect();
        t.run(&format!("RPUSH l {}", elements.join(" ")));
        let gets = "GET # ".repeat(9000);
        let refused = "-ERR SORT would get more than 67108864 values\r\n";
        assert_eq!(t.run(&format!("SORT l {gets}")), refused);
        assert_eq!(t.run(&format!("SORT l {gets} STORE d")), refused);
        assert_eq!(t.run("EXISTS d"), ":0\r\n");
        assert!(t.run(&format!("SORT l LIMIT 0 2 {gets}")).starts_with("*18000\r\n"));
    }
}
