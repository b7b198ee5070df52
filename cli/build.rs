//! How the program is linked where that is known to work: for glibc on Linux, optimised.
//!
//! Functions that a node runs stand side by side (`layout.ld`, written by `bench/layout`): the system maps a file in by
//! windows of 64 KiB, so where they are strewn over the text most of it becomes resident. Relative relocations are packed:
//! the loader then reads a table of some KiB instead of one of a megabyte, and so does the memory. Nothing else depends
//! on either. `TORC_PLAIN_LINK=1` leaves both out, for a linker that knows no scripts.

use std::env;
use std::process::Command;

/// The first glibc that reads packed relocations.
const PACKED_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=layout.ld");
    println!("cargo:rerun-if-env-changed=TORC_PLAIN_LINK");
    let of_target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let optimised = env::var("OPT_LEVEL").is_ok_and(|level| level != "0" && level != "1");
    let plain = env::var("TORC_PLAIN_LINK").is_ok_and(|value| value == "1");
    if plain || !optimised || of_target("OS") != "linux" || of_target("ENV") != "gnu" {
        return;
    }
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/layout.ld");
    if env::var("HOST") == env::var("TARGET") && glibc().is_some_and(|version| version >= PACKED_SINCE) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
