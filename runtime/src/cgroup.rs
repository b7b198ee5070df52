//! The memory limit of the container that the process lives in.

use std::fs;
use std::path::{Path, PathBuf};

/// Limits at or above this mean "none" (cgroup v1 writes a huge number).
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// The lowest limit on the process's memory, in bytes, over its cgroup and those above it; `None` without one.
pub fn memory_limit_bytes() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_in(Path::new("/sys/fs/cgroup"), &own)
}

/// As [`memory_limit_bytes`], for a hierarchy mounted at `root` and the text of `/proc/self/cgroup`.
fn limit_in(root: &Path, own: &str) -> Option<u64> {
    let mut lowest: Option<u64> = None;
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (base, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            "memory" => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        for folder in upwards(&base, path) {
            let limit = fs::read_to_string(folder.join(file)).ok().and_then(|text| text.trim().parse().ok());
            if let Some(limit) = limit.filter(|limit| *limit < NO_LIMIT_BYTES) {
                lowest = Some(lowest.map_or(limit, |low| low.min(limit)));
            }
        }
    }
    lowest
}

/// The folder of a cgroup and those above it, up to the mount. Inside a container the path is that of the
/// host and may not exist: the mount itself is the container's own group then.
fn upwards(base: &Path, path: &str) -> Vec<PathBuf> {
    let mut folder = base.join(path.trim_start_matches('/'));
    let mut all = vec![folder.clone()];
    while folder != *base && folder.pop() && folder.starts_with(base) {
        all.push(folder.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(limit_in(root.path(), "0::/a/b\n"), None);
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("a/memory.max"), "2000\n").unwrap();
        fs::write(root.path().join("memory.max"), "3000\n").unwrap();
        assert_eq!(limit_in(root.path(), "0::/a/b\n"), Some(2000));
        assert_eq!(limit_in(root.path(), "0::/not/here\n"), Some(3000));
        let v1 = root.path().join("memory/x");
        fs::create_dir_all(&v1).unwrap();
        fs::write(v1.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        assert_eq!(limit_in(root.path(), "5:memory:/x\n4:cpu:/\n"), None);
        fs::write(v1.join("memory.limit_in_bytes"), "77\n").unwrap();
        assert_eq!(limit_in(root.path(), "5:memory:/x\n"), Some(77));
    }
}
