//! How INFO writes what people read: the same at servers and proxies.

/// `1.50M`, as Redis writes sizes.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn sizes_are_written_for_people() {
        let written = [0, 1023, 1024, 1536 << 10, 3 << 30, 1 << 40, u64::MAX].map(human_bytes);
        assert_eq!(written, ["0B", "1023B", "1.00K", "1.50M", "3.00G", "1.00T", "16384.00P"]);
    }
}
