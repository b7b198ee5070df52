//! PFDEBUG and PFSELFTEST.

use std::fmt::Write as _;

use torc_protocol::error as text;
use torc_protocol::resp::Args;
use torc_runtime::random::split_mix;

use super::{peek, store};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::hyperloglog::{self as hll, REGISTERS, Registers};
use crate::store::Key;

/// Elements that PFSELFTEST adds.
const TEST_ELEMENTS: u64 = 1_000_000;

/// Makes the HyperLogLog at the key dense; true when it was not.
fn make_dense(cx: &mut Cx<'_, '_>, key: &Key<'_>) -> Result<bool, CommandError> {
    let Some(bytes) = peek(cx, key)?.filter(|bytes| !hll::is_dense(bytes)) else { return Ok(false) };
    let mut bytes = bytes.to_vec();
    hll::make_dense(&mut bytes)?;
    store(cx, key, &bytes);
    Ok(true)
}

fn decode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for hll::Opcode { value, run, len } in hll::opcodes(bytes.get(hll::HEADER..).unwrap_or_default()) {
        let space = if out.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = match (value, len) {
            (0, 1) => write!(out, "{space}z:{run}"),
            (0, _) => write!(out, "{space}Z:{run}"),
            _ => write!(out, "{space}v:{value},{run}"),
        };
    }
    out
}

/// PFDEBUG GETREG | DECODE | ENCODING | TODENSE key
pub fn pfdebug(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (sub, key) = (&args[1], cx.key(&args[2]));
    let Some(bytes) = peek(cx, &key)? else { return Err(text::HLL_NO_KEY.into()) };
    let is = |name: &[u8]| sub.eq_ignore_ascii_case(name);
    if is(b"GETREG") {
        let mut registers = Registers::default();
        registers.merge(bytes)?;
        make_dense(cx, &key)?;
        let mut reply = cx.reply();
        reply.array(REGISTERS);
        registers.iter().for_each(|value| reply.integer(i64::from(value)));
    } else if is(b"DECODE") {
        if hll::is_dense(bytes) {
            return Err(text::HLL_NOT_SPARSE.into());
        }
        let line = decode(bytes);
        cx.reply().bulk(line.as_bytes());
    } else if is(b"ENCODING") {
        let name = if hll::is_dense(bytes) { "dense" } else { "sparse" };
        cx.reply().simple(name);
    } else if is(b"TODENSE") {
        let made = make_dense(cx, &key)?;
        cx.reply().integer(i64::from(made));
    } else {
        let text = [b"ERR Unknown PFDEBUG subcommand '", sub, b"'"].concat();
        return Err(CommandError::Bytes(text.into()));
    }
    Ok(())
}

/// PFSELFTEST: adds elements to a sparse and a dense HyperLogLog and looks whether they agree, and how far they are off.
pub fn pfselftest(cx: &mut Cx<'_, '_>) -> CommandResult {
    let max_bytes = cx.env().limits.hll_sparse_bytes;
    let mut rng = cx.random();
    let (mut either, mut dense) = (hll::empty(), hll::empty());
    hll::make_dense(&mut dense)?;
    let failed = |what: String| Err(CommandError::from(format!("ERR TESTFAILED {what}")));
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    let mut checkpoint = 1;
    for n in 1..=TEST_ELEMENTS {
        let (index, value) = hll::place(&split_mix(&mut rng).to_le_bytes());
        hll::raise(&mut either, index, value, max_bytes)?;
        hll::raise(&mut dense, index, value, max_bytes)?;
        if n < checkpoint {
            continue;
        }
        if n < max_bytes as u64 / 2 && hll::is_dense(&either) {
            return failed("sparse encoding not used".to_owned());
        }
        let estimate = hll::count(&dense)?;
        if hll::count(&either)? != estimate {
            return failed("dense/sparse disagree".to_owned());
        }
        let bound = if n == 10 { 1 } else { (standard_error * 6.0 * n as f64).ceil() as u64 };
        if estimate.abs_diff(n) > bound {
            return failed(format!("Too big error. card:{n} abserr:{}", estimate.abs_diff(n)));
        }
        checkpoint *= 10;
    }
    cx.reply().ok();
    Ok(())
}
