//! What the system knows of this process and machine, for INFO and metrics.

/// Ticks a second of `/proc/self/stat`'s times (`USER_HZ`, fixed on Linux).
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident bytes of the process; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Processor seconds in the kernel and in user space.
pub fn cpu_seconds() -> (f64, f64) {
    cpu_of(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default())
}

/// (kernel, user) from the text of `/proc/<pid>/stat`.
fn cpu_of(stat: &str) -> (f64, f64) {
    // The name, in brackets, may hold anything.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut seconds = || {
        let ticks: Option<f64> = fields.next().and_then(|ticks| ticks.parse().ok());
        ticks.unwrap_or(0.0) / TICKS_PER_SECOND
    };
    let user = seconds();
    (seconds(), user)
}

/// Bytes of memory of the machine; 0 where the system does not say.
pub fn machine_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kilobytes: Option<u64> = line.split_ascii_whitespace().next().and_then(|n| n.parse().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// `Linux 6.1.0 x86_64`
pub fn system() -> String {
    let name = rustix::system::uname();
    let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    format!("{} {} {}", part(name.sysname()), part(name.release()), part(name.machine()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(cpu_of(stat), (0.5, 2.5));
        assert_eq!(cpu_of(""), (0.0, 0.0));
        assert!(resident_bytes() > 0 && machine_bytes() > 0);
        assert!(system().starts_with("Linux "));
    }
}
