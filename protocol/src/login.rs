//! Who a client is and what it speaks: the arguments of AUTH and HELLO, the first `set` of a memcached client, and
//! the comparison of passwords.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

use crate::REDIS_VERSION;
use crate::error as text;
use crate::resp::{Args, ReplyWriter, Version, parse_i64};

/// The only user there is so far.
pub const DEFAULT_USER: &[u8] = b"default";

/// Data by which a memcached client logs in may not be longer.
const MAX_CREDENTIALS_BYTES: usize = 2048;

/// A user's name and password, as they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    pub user: &'a [u8],
    pub password: &'a [u8],
}

impl<'a> Login<'a> {
    /// `AUTH [username] password`. `has_password`: a password is configured.
    pub fn of_auth(args: &Args<'a>, has_password: bool) -> Result<Login<'a>, &'static str> {
        match (args.len(), args.get(1), args.get(2)) {
            (2, Some(_), _) if !has_password => Err(text::NO_PASSWORD_SET),
            (2, Some(password), _) => Ok(Login { user: DEFAULT_USER, password }),
            (3, Some(user), Some(password)) => Ok(Login { user, password }),
            _ => Err(text::SYNTAX),
        }
    }

    /// The data block of a memcached client's first `set`: "user password". Any user name will do as long as there is
    /// only one user.
    pub fn of_memcached(data: &'a [u8]) -> Option<Login<'a>> {
        let space = memchr::memchr(b' ', data).filter(|_| data.len() <= MAX_CREDENTIALS_BYTES)?;
        Some(Login { user: DEFAULT_USER, password: &data[space + 1..] })
    }

    /// The same with the user as given, for those who keep a list of them.
    pub fn of_memcached_user(data: &'a [u8]) -> Option<Login<'a>> {
        let space = memchr::memchr(b' ', data).filter(|_| data.len() <= MAX_CREDENTIALS_BYTES)?;
        Some(Login { user: &data[..space], password: &data[space + 1..] })
    }

    /// Whether it opens the door. Without a configured password the default user may come in with any.
    pub fn is_right(&self, requirepass: &str) -> bool {
        self.user == DEFAULT_USER && (requirepass.is_empty() || same(self.password, requirepass.as_bytes()))
    }
}

/// Users of memcached's protocol, as memcached's own file (`-Y`) has them: `user:password`, one a line.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MemcachedUsers(Vec<(Vec<u8>, Vec<u8>)>);

impl std::fmt::Debug for MemcachedUsers {
    /// Shows no password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemcachedUsers({})", self.0.len())
    }
}

/// Users of one file.
const MAX_MEMCACHED_USERS: usize = 1024;

impl MemcachedUsers {
    /// Reads a file's text; the error says what is wrong with it, and shows no password.
    pub fn parse(text: &[u8]) -> Result<MemcachedUsers, String> {
        let mut users = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let colon = memchr::memchr(b':', line).filter(|at| *at > 0 && at + 1 < line.len());
            let Some(colon) = colon else { return Err(format!("line {}: no user:password", index + 1)) };
            if line.len() > MAX_CREDENTIALS_BYTES || users.len() == MAX_MEMCACHED_USERS {
                return Err(format!("line {}: too long, or one too many", index + 1));
            }
            users.push((line[..colon].to_vec(), line[colon + 1..].to_vec()));
        }
        if users.is_empty() { Err("no user in it".to_owned()) } else { Ok(MemcachedUsers(users)) }
    }

    /// Whether there is no list: then the password of the default user counts.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this `set`'s data open the door.
    pub fn admit(&self, data: &[u8]) -> bool {
        let Some(login) = Login::of_memcached_user(data) else { return false };
        let is =
            |(user, password): &(Vec<u8>, Vec<u8>)| same(login.user, user) & same(login.password, password);
        self.0.iter().fold(false, |known, entry| known | is(entry))
    }
}

/// Compares without telling by its duration how much was right.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    // The loop runs over what the stranger gave: its length is no secret to them.
    let mut equal = given.len().ct_eq(&wanted.len());
    for (index, byte) in given.iter().enumerate() {
        equal &= byte.ct_eq(wanted.get(index).unwrap_or(&0));
    }
    bool::from(equal)
}

/// The longest name of a client or of its library, bytes: it stays as long as the connection. (Redis has no bound but
/// that of the request.)
pub const MAX_NAME_BYTES: usize = 1024;

/// Whether a client (or its library) may call itself so.
pub fn is_name(name: &[u8]) -> bool {
    name.len() <= MAX_NAME_BYTES && name.iter().all(u8::is_ascii_graphic)
}

/// `HELLO [protover [AUTH username password] [SETNAME name]]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hello<'a> {
    /// The version to speak from now on; none: as before.
    pub version: Option<Version>,
    pub login: Option<Login<'a>>,
    pub name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    /// Reads the request; the error is the reply's text.
    pub fn parse(args: &Args<'a>) -> Result<Hello<'a>, Cow<'static, [u8]>> {
        let refused = |text: &'static str| Err(Cow::Borrowed(text.as_bytes()));
        let mut hello = Hello::default();
        if let Some(number) = args.get(1) {
            hello.version = match parse_i64(number) {
                None => return refused(text::HELLO_VERSION),
                Some(2) => Some(Version::Resp2),
                Some(3) => Some(Version::Resp3),
                Some(_) => return refused(text::NOPROTO),
            };
        }
        let mut at = 2;
        while let Some(option) = args.get(at) {
            match (args.get(at + 1), args.get(at + 2)) {
                (Some(user), Some(password)) if option.eq_ignore_ascii_case(b"auth") => {
                    hello.login = Some(Login { user, password });
                    at += 3;
                }
                (Some(name), _) if option.eq_ignore_ascii_case(b"setname") => {
                    if !is_name(name) {
                        return refused(text::CLIENT_NAME);
                    }
                    hello.name = Some(name);
                    at += 2;
                }
                _ => return Err([b"ERR Syntax error in HELLO option '", option, b"'"].concat().into()),
            }
        }
        Ok(hello)
    }
}

/// HELLO's reply, in the version of the writer.
pub fn describe(reply: &mut ReplyWriter<'_>, id: u64, mode: &str, role: &str) {
    let version = reply.version().number();
    reply.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    for (key, value) in [("proto", version), ("id", id as i64)] {
        reply.bulk(key.as_bytes());
        reply.integer(value);
    }
    for (key, value) in [("mode", mode), ("role", role)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn passwords_are_compared_whole() {
        assert!(same(b"secret", b"secret"));
        assert!(!same(b"secre", b"secret"));
        assert!(!same(b"secretsecret", b"secret"));
        assert!(!same(b"secret\0", b"secret"));
        assert!(!same(b"", b"secret"));
        assert!(same(b"", b""));
    }

    #[test]
    fn one_or_two_words_log_in() {
        let login = |words: &[&str], requirepass: &str| {
            let args = OwnedArgs::new(words);
            Login::of_auth(&args.view(), !requirepass.is_empty()).map(|login| login.is_right(requirepass))
        };
        assert_eq!(login(&["auth", "secret"], "secret"), Ok(true));
        assert_eq!(login(&["auth", "default", "secret"], "secret"), Ok(true));
        assert_eq!(login(&["auth", "other", "secret"], "secret"), Ok(false));
        assert_eq!(login(&["auth", "any"], ""), Err(text::NO_PASSWORD_SET));
        assert_eq!(login(&["auth", "default", "any"], ""), Ok(true));
        assert_eq!(login(&["auth", "a", "b", "c"], "secret"), Err(text::SYNTAX));
        let right = |data: &[u8]| Login::of_memcached(data).is_some_and(|login| login.is_right("secret"));
        assert!(right(b"user secret") && !right(b"user wrong") && !right(b"secret"));
    }

    #[test]
    fn users_of_a_file() {
        let users = MemcachedUsers::parse(b"user:secret\r\nother:a:b c\n\n").expect("sound");
        assert!(users.admit(b"user secret") && users.admit(b"other a:b c"));
        for wrong in [&b"user wrong"[..], b"other secret", b"user", b"", b"secret", b" secret"] {
            assert!(!users.admit(wrong), "{}", wrong.escape_ascii());
        }
        for bad in [&b""[..], b"\n", b"user", b":secret", b"user:", b"a:b\nuser\n"] {
            let error = MemcachedUsers::parse(bad).expect_err("no list");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn options_of_hello() {
        fn error(words: &[&str]) -> String {
            let args = OwnedArgs::new(words);
            String::from_utf8_lossy(&Hello::parse(&args.view()).expect_err("refused")).into_owned()
        }
        let args = OwnedArgs::new(["hello", "3", "setname", "me", "AUTH", "u", "p"]);
        let hello = Hello::parse(&args.view()).expect("whole");
        let login = Some(Login { user: b"u", password: b"p" });
        assert_eq!(hello, Hello { version: Some(Version::Resp3), login, name: Some(b"me") });
        assert_eq!(Hello::parse(&OwnedArgs::new(["hello"]).view()), Ok(Hello::default()));
        assert_eq!(error(&["hello", "x"]), text::HELLO_VERSION);
        assert_eq!(error(&["hello", "4"]), text::NOPROTO);
        assert_eq!(error(&["hello", "2", "setname", "a b"]), text::CLIENT_NAME);
        assert_eq!(error(&["hello", "2", "auth", "u"]), "ERR Syntax error in HELLO option 'auth'");
    }
}
