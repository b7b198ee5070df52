//! How the program is linked where that is known to work: for glibc on Linux, optimised.
//!
//! Functions that a node runs stand side by side (`layout.ld`, written by `bench/layout` from a build of each profile): the
//! system maps a file in by windows of 64 KiB, so where they are strewn over the text most of it becomes resident. Relative
//! relocations are packed: the loader then reads a table of some KiB instead of one of a megabyte, and so does the memory.
//! Nothing else depends on either. Each is tried on an empty program first: a linker that does not know it goes without.
//! `TORC_PLAIN_LINK=1` leaves both out.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

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
    let layout = format!("-Wl,-T,{folder}/layout.ld");
    if links_with(&layout) {
        println!("cargo:rustc-link-arg-bins={layout}");
    }
    let packed = "-Wl,-z,pack-relative-relocs";
    let read_here =
        env::var("HOST") == env::var("TARGET") && glibc().is_some_and(|version| version >= PACKED_SINCE);
    if read_here && links_with(packed) {
        println!("cargo:rustc-link-arg-bins={packed}");
    }
}

/// Whether the linker of this build takes the argument.
fn links_with(argument: &str) -> bool {
    let of = |name: &str| env::var(name).unwrap_or_default();
    let folder = of("OUT_DIR");
    let empty = Path::new(&folder).join("empty.rs");
    if std::fs::write(&empty, "fn main() {}").is_err() {
        return false;
    }
    let mut compiler = Command::new(of("RUSTC"));
    compiler.arg(&empty).args(["--crate-type", "bin", "--target", &of("TARGET"), "--out-dir", &folder]);
    compiler.args(["-C", &format!("link-arg={argument}")]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        compiler.args(["-C", &format!("linker={linker}")]);
    }
    compiler.args(of("CARGO_ENCODED_RUSTFLAGS").split('\x1f').filter(|flag| !flag.is_empty()));
    let done = compiler.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

/// The version of this machine's glibc.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
