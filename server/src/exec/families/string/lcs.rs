//! LCS: the longest common subsequence of two strings.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};

/// Cells of the table that one LCS may take: four bytes each.
const MAX_CELLS: usize = 1 << 27;

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    len: bool,
    ranges: bool,
    with_length: bool,
    min_length: usize,
}

fn options(args: &Args<'_>) -> Result<Options, CommandError> {
    let mut found = Options::default();
    let mut at = 3;
    while let Some(option) = args.get(at) {
        at += 1;
        if option.eq_ignore_ascii_case(b"IDX") {
            found.ranges = true;
        } else if option.eq_ignore_ascii_case(b"LEN") {
            found.len = true;
        } else if option.eq_ignore_ascii_case(b"WITHMATCHLEN") {
            found.with_length = true;
        } else if option.eq_ignore_ascii_case(b"MINMATCHLEN")
            && let Some(arg) = args.get(at)
        {
            found.min_length = usize::try_from(integer(arg)?).unwrap_or(0);
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if found.len && found.ranges {
        return Err(text::LCS_LEN_AND_IDX.into());
    }
    Ok(found)
}

/// The lengths of the longest common subsequences of all pairs of prefixes.
struct Lengths {
    width: usize,
    cells: Vec<u32>,
}

impl Lengths {
    fn of(a: &[u8], b: &[u8]) -> Lengths {
        let width = b.len() + 1;
        let mut cells = vec![0u32; (a.len() + 1) * width];
        for (i, x) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            for (j, y) in b.iter().enumerate() {
                row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Lengths { width, cells }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }
}

/// A run of equal bytes: where it starts in both strings, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

/// The runs that make up one longest common subsequence, the last first.
fn runs(a: &[u8], b: &[u8], lengths: &Lengths) -> Vec<Run> {
    let mut found: Vec<Run> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            match found.last_mut() {
                Some(run) if run.a == i + 1 && run.b == j + 1 => {
                    *run = Run { a: i, b: j, len: run.len + 1 };
                }
                _ => found.push(Run { a: i, b: j, len: 1 }),
            }
        } else if lengths.at(i - 1, j) > lengths.at(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    found
}

/// LCS key1 key2 \[LEN\] \[IDX\] \[MINMATCHLEN length\] \[WITHMATCHLEN\]
pub fn lcs(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let both = |cx: &mut Cx<'_, '_>, name: &[u8]| {
        let key = cx.key(name);
        match cx.read_string(&key) {
            Ok(bytes) => Ok(bytes.unwrap_or_default().to_vec()),
            Err(_) => Err(CommandError::from(text::LCS_TWO_STRINGS)),
        }
    };
    let (a, b) = (both(cx, &args[1])?, both(cx, &args[2])?);
    let options = options(args)?;
    if (a.len() + 1).saturating_mul(b.len() + 1) > MAX_CELLS {
        return Err("ERR Insufficient memory, failed allocating transient memory for LCS".into());
    }
    let lengths = Lengths::of(&a, &b);
    let total = lengths.at(a.len(), b.len());
    let mut reply = cx.reply();
    if options.len {
        reply.integer(i64::from(total));
        return Ok(());
    }
    let mut runs = runs(&a, &b, &lengths);
    if !options.ranges {
        let common: Vec<u8> = runs.iter().rev().flat_map(|r| &a[r.a..r.a + r.len]).copied().collect();
        reply.bulk(&common);
        return Ok(());
    }
    runs.retain(|r| r.len >= options.min_length);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(runs.len());
    for run in runs {
        reply.array(2 + usize::from(options.with_length));
        for start in [run.a, run.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + run.len - 1) as i64);
        }
        if options.with_length {
            reply.integer(run.len as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(i64::from(total));
    Ok(())
}
