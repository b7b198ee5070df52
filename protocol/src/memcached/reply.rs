//! Replies of the protocol.

/// The fixed lines, without their line ends.
pub mod text {
    pub const STORED: &str = "STORED";
    pub const NOT_STORED: &str = "NOT_STORED";
    pub const EXISTS: &str = "EXISTS";
    pub const NOT_FOUND: &str = "NOT_FOUND";
    pub const DELETED: &str = "DELETED";
    pub const TOUCHED: &str = "TOUCHED";
    pub const OK: &str = "OK";
    pub const END: &str = "END";
    pub const RESET: &str = "RESET";
    pub const ERROR: &str = "ERROR";
    pub const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
    pub const BAD_DATA_CHUNK: &str = "CLIENT_ERROR bad data chunk";
    pub const NON_NUMERIC: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value";
    /// A whole reply: it is written to connections that nobody owns yet.
    pub const MAX_CLIENTS_REPLY: &[u8] = b"ERROR Too many open connections\r\n";
    pub const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";
    pub const AUTHENTICATION_FAILURE: &str = "CLIENT_ERROR authentication failure";
    /// The first `set` has no space between user and password.
    pub const BAD_CREDENTIALS: &str = "CLIENT_ERROR bad authentication token format";
    /// The first `set` does not end where it said.
    pub const BAD_TERMINATION: &str = "CLIENT_ERROR bad command line termination";
    pub const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";
    pub const OUT_OF_MEMORY: &str = "SERVER_ERROR out of memory storing object";
    pub const SHUTDOWN_DISABLED: &str = "ERROR: shutdown not enabled";
    /// memcached's own words where it was started without `watch`.
    pub const NO_WATCH: &str = "CLIENT_ERROR watch commands not allowed";
    pub const MEMLIMIT_TOO_SMALL: &str = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m";
    /// Torc's own: the key holds something that is no string.
    pub const WRONG_TYPE: &str = "SERVER_ERROR the key holds a value that is not a string";
}

/// Appends a line and its end.
pub fn write_line(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `VALUE <key> <flags> <bytes>[ <cas>]`, the data, and their line ends.
pub fn write_value(out: &mut Vec<u8>, key: &[u8], flags: u32, data: &[u8], cas: Option<u64>) {
    let mut digits = itoa::Buffer::new();
    out.reserve(key.len() + data.len() + 48);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.push(b' ');
    out.extend_from_slice(digits.format(flags).as_bytes());
    out.push(b' ');
    out.extend_from_slice(digits.format(data.len()).as_bytes());
    if let Some(cas) = cas {
        out.push(b' ');
        out.extend_from_slice(digits.format(cas).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let mut out = Vec::new();
        write_value(&mut out, b"k", 7, b"a", None);
        write_value(&mut out, b"k", 7, b"", Some(9));
        write_line(&mut out, text::END);
        assert_eq!(out, b"VALUE k 7 1\r\na\r\nVALUE k 7 0 9\r\n\r\nEND\r\n");
    }
}
