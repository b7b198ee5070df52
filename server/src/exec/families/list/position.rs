//! LPOS.

use torc_protocol::resp::{Args, parse_i64};

use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::rdb::Element;
use crate::store::Collection;
use crate::store::value::{ListValue, Sought};

struct Options {
    rank: i64,
    /// 0: all.
    count: Option<usize>,
    /// 0: no limit.
    max_len: usize,
}

fn options(args: &Args<'_>) -> Result<Options, CommandError> {
    let mut options = Options { rank: 1, count: None, max_len: 0 };
    let mut at = 3;
    while let Some(word) = args.get(at) {
        let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
        let positive = |error: &'static str| {
            parse_i64(value).and_then(|n| usize::try_from(n).ok()).ok_or_else(|| CommandError::from(error))
        };
        if word.eq_ignore_ascii_case(b"rank") {
            options.rank = match integer(value)? {
                0 => {
                    return Err(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                                or use negative to start from the end of the list"
                            .into(),
                    );
                }
                i64::MIN => {
                    return Err("ERR value is out of range, value must between -9223372036854775807 and \
                                9223372036854775807"
                        .into());
                }
                rank => rank,
            };
        } else if word.eq_ignore_ascii_case(b"count") {
            options.count = Some(positive("ERR COUNT can't be negative")?);
        } else if word.eq_ignore_ascii_case(b"maxlen") {
            options.max_len = positive("ERR MAXLEN can't be negative")?;
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    Ok(options)
}

/// Calls `found` with the distance from where the search begins of each element that is sought, until it says false.
fn search<'a>(
    elements: impl Iterator<Item = Element<'a>>,
    sought: &Sought<'_>,
    options: &Options,
    mut found: impl FnMut(usize) -> bool,
) {
    let most = if options.max_len == 0 { usize::MAX } else { options.max_len };
    let mut to_skip = options.rank.unsigned_abs() - 1;
    for (distance, element) in elements.take(most).enumerate() {
        if !sought.is(element) {
            continue;
        }
        if to_skip > 0 {
            to_skip -= 1;
        } else if !found(distance) {
            return;
        }
    }
}

/// LPOS key element \[RANK rank\] \[COUNT count\] \[MAXLEN len\]
pub fn lpos(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let options = options(args)?;
    let (key, sought) = (cx.key(&args[1]), Sought::new(&args[2]));
    cx.read_as_and(&key, |value: Option<&ListValue>, mut reply| {
        let mut positions = Vec::new();
        let most = match options.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        if let Some(list) = value {
            let len = list.len();
            let back = options.rank < 0;
            let found = |distance| {
                positions.push(if back { len - distance - 1 } else { distance });
                positions.len() < most
            };
            if back {
                search(list.backward(), &sought, &options, found);
            } else {
                search(list.iter(), &sought, &options, found);
            }
        }
        if options.count.is_some() {
            reply.array(positions.len());
            positions.iter().for_each(|at| reply.integer(*at as i64));
        } else if let Some(at) = positions.first() {
            reply.integer(*at as i64);
        } else {
            reply.null();
        }
    })
}
