//! Writing requests: always arrays of bulk strings.

/// Appends a request to `out`.
pub fn encode_request<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    encode_request_iter(out, args.len(), args.iter());
}

/// Appends a request of `count` arguments to `out`; `args` must yield exactly that many.
pub fn encode_request_iter<A: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    count: usize,
    args: impl IntoIterator<Item = A>,
) {
    request_header(out, count);
    let mut written = 0;
    for arg in args {
        request_arg(out, arg.as_ref());
        written += 1;
    }
    debug_assert_eq!(written, count, "a request must have as many arguments as its header says");
}

/// Appends the header of a request of `count` arguments; `count` bulk strings must follow.
#[inline]
pub fn request_header(out: &mut Vec<u8>, count: usize) {
    length_line(out, b'*', count);
}

/// Appends one argument of a request.
#[inline]
pub fn request_arg(out: &mut Vec<u8>, arg: &[u8]) {
    length_line(out, b'$', arg.len());
    out.extend_from_slice(arg);
    out.extend_from_slice(b"\r\n");
}

/// Appends `<kind><length>\r\n`.
#[inline]
pub(super) fn length_line(out: &mut Vec<u8>, kind: u8, length: usize) {
    if length < 10 {
        out.extend_from_slice(&[kind, b'0' + length as u8, b'\r', b'\n']);
        return;
    }
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request() {
        let mut out = Vec::new();
        encode_request(&mut out, &["SET", "k", "0123456789"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n");
    }
}
