//! What must hold for every row of the table.

use std::collections::HashSet;

use super::*;
use crate::resp::OwnedArgs;

#[test]
fn a_command_takes_two_bytes() {
    assert_eq!(size_of::<Command>(), 2);
    assert_eq!(size_of::<Option<Command>>(), 2);
}

#[test]
fn every_name_is_found_in_any_case() {
    let mut names = HashSet::new();
    for (index, command) in all().enumerate() {
        let spec = command.spec();
        assert!(names.insert(spec.name), "{} stands twice in the table", spec.name);
        assert_eq!(spec.name, spec.name.to_lowercase());
        assert_eq!(command.index(), index);
        assert_eq!(lookup_full(spec.name.as_bytes()), Some(command));
        assert_eq!(lookup_full(spec.name.to_uppercase().as_bytes()), Some(command));
        match spec.name.split_once('|') {
            None => assert_eq!(lookup(spec.name.as_bytes()), Some(command)),
            Some((container, sub)) => {
                assert_eq!(lookup(spec.name.as_bytes()), None);
                let container = lookup(container.as_bytes()).expect("its container has a row");
                assert!(container.spec().flags.contains(Flags::CONTAINER), "{}", spec.name);
                assert_eq!(lookup_sub(container, sub.to_uppercase().as_bytes()), Some(command));
            }
        }
    }
    for unknown in [
        "",
        "x",
        "gett",
        "ge",
        "client|nothing",
        "client\\list",
        "lock\u{e}info",
        "bitfield\u{7f}ro",
        "g\u{5}t",
        "debug|set-active-expirX",
        "debug|setXactive-expire",
        "getgetgetgetgetgetgetgetgetgetget",
    ] {
        assert_eq!(lookup_full(unknown.as_bytes()), None, "{unknown}");
    }
}

#[test]
fn every_row_is_complete() {
    for command in all() {
        let spec = command.spec();
        let name = spec.name;
        assert!(!spec.summary.is_empty() && spec.summary.ends_with('.'), "{name}: summary");
        assert!(!spec.since.is_empty(), "{name}: since");
        assert!(!spec.complexity.is_empty(), "{name}: complexity");
        assert!(!spec.group.is_empty(), "{name}: group");
        assert_ne!(spec.arity, 0, "{name}: arity");
        assert!(!(spec.is_write() && spec.is_readonly()), "{name}: writes and is read-only");
        if spec.arity == 1 {
            assert!(spec.usage.is_empty(), "{name}: takes no arguments");
        }
        let subcommands = subcommands(command).count();
        assert_eq!(spec.flags.contains(Flags::CONTAINER), subcommands > 0, "{name}: container");
        if spec.flags.contains(Flags::CONTAINER) {
            assert!(spec.arity < 0, "{name}: a container takes subcommands");
        }
    }
}

/// The smallest request that a row allows, with plain arguments and a count of one where keys are counted.
fn smallest(spec: &CommandSpec) -> OwnedArgs {
    let mut args: Vec<String> = spec.name.split('|').map(str::to_string).collect();
    while args.len() < spec.arity.unsigned_abs() as usize {
        args.push(format!("arg{}", args.len()));
    }
    if let KeySpec::NumKeys { at, .. } = spec.keys {
        args[at] = "0".to_string();
    }
    OwnedArgs::new(args)
}

#[test]
fn arity_agrees_with_the_key_specification() {
    for command in all() {
        let spec = command.spec();
        if matches!(spec.keys, KeySpec::Custom(_) | KeySpec::Found { .. }) {
            continue;
        }
        let args = smallest(spec);
        let keys = spec.find_keys(&args.view()).unwrap_or_else(|error| panic!("{}: {error}", spec.name));
        match spec.keys {
            // Those that may have none.
            KeySpec::Range { first, .. } if first >= args.view().len() => assert!(keys.is_empty()),
            KeySpec::Range { .. } => assert!(!keys.is_empty(), "{}", spec.name),
            _ => assert!(keys.is_empty(), "{}", spec.name),
        }
        if !spec.flags.contains(Flags::CONTAINER) {
            assert_eq!(resolve_internal(&args.view()), Ok(command), "{}", spec.name);
        }
    }
}

#[test]
fn route_agrees_with_keys_and_merge() {
    for command in all() {
        let spec = command.spec();
        let name = spec.name;
        match spec.route {
            Route::Key => assert!(!spec.keys.is_none(), "{name}: routed by keys that it does not have"),
            Route::SplitKeys => {
                assert!(matches!(spec.keys, KeySpec::Range { last: -1, .. }), "{name}: cannot be split");
                assert_ne!(spec.merge, Merge::Single, "{name}: split, so it must be merged");
            }
            Route::AllShards => {
                assert_ne!(spec.merge, Merge::Single, "{name}: many replies, so it must be merged")
            }
            Route::Local | Route::Channel | Route::Refuse(_) | Route::Transaction => {
                assert_eq!(spec.merge, Merge::Single, "{name}: nothing to merge");
            }
            Route::AnyShard | Route::Cursor => {}
        }
        if !spec.keys.is_none() {
            assert!(
                matches!(spec.route, Route::Key | Route::SplitKeys | Route::Transaction | Route::Refuse(_)),
                "{name}: has keys that its route does not look at"
            );
        }
    }
}

#[test]
fn errors_are_those_of_redis() {
    let text = |line: &str| {
        let args = OwnedArgs::new(line.split(' '));
        let error = resolve(&args.view()).expect_err("refused");
        String::from_utf8_lossy(&error.text(args.view())).into_owned()
    };
    assert_eq!(text("get"), "ERR wrong number of arguments for 'get' command");
    assert_eq!(text("GET a b"), "ERR wrong number of arguments for 'get' command");
    assert_eq!(text("client"), "ERR wrong number of arguments for 'client' command");
    assert_eq!(text("client getname x"), "ERR wrong number of arguments for 'client|getname' command");
    assert_eq!(text("client x"), "ERR unknown subcommand 'x'. Try CLIENT HELP.");
    assert_eq!(text("foo a b"), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
    assert_eq!(text("client|list"), "ERR unknown command 'client|list', with args beginning with: ");
    assert_eq!(text("ctx a b"), "ERR unknown command 'ctx', with args beginning with: 'a' 'b' ");
    assert_eq!(text("ctx"), "ERR unknown command 'ctx', with args beginning with: ");
}

#[test]
fn flags_and_categories_have_their_names() {
    let get = lookup(b"get").expect("known").spec();
    assert_eq!(get.flags.public().names().collect::<Vec<_>>(), ["readonly", "fast"]);
    assert_eq!(get.acl_categories().names().collect::<Vec<_>>(), ["read", "string", "fast"]);
    assert_eq!(Acl::from_name("DANGEROUS"), Some(Acl::DANGEROUS));
    assert_eq!(Acl::from_name("nothing"), None);
}
