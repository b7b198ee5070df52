//! systemd itself checks the units in `deploy/systemd/`; skipped, with a notice, where it is not installed.

use std::path::Path;
use std::process::Command;

/// Where the units expect the binary.
const INSTALLED: &str = "/usr/local/bin/torc";

#[test]
fn systemd_accepts_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!(
            "\n*** SKIPPED: systemd-analyze is not installed, the units in deploy/systemd are unchecked ***\n"
        );
        return;
    }
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["torc-server.service", "torc-proxy.service"] {
        let text = std::fs::read_to_string(units.join(name)).expect("the unit");
        assert!(text.contains(INSTALLED), "{name} starts something else than {INSTALLED}");
        // systemd looks whether the program is there.
        let copy = dir.path().join(name);
        std::fs::write(&copy, text.replace(INSTALLED, env!("CARGO_BIN_EXE_torc"))).expect("written");
        let done = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&copy)
            .output()
            .expect("systemd-analyze can be started");
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        let about_unit = words.lines().any(|line| line.contains(name));
        assert!(done.status.success() && !about_unit, "{name}: {words}");
    }
}
