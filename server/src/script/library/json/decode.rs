//! JSON as Lua values.

use mlua::{Lua, Table, Value};

use super::Settings;
use crate::script::error::raise_here;

/// Reads one JSON text.
struct Reader<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    settings: &'a Settings,
}

/// A table that is being read. They lie on a heap of their own: nesting must not cost stack.
struct Open {
    table: Table,
    array: bool,
    /// Items begun so far.
    items: usize,
    /// The key that waits for its value.
    key: Option<mlua::String>,
}

impl Open {
    fn put(&mut self, value: Value) -> mlua::Result<()> {
        match self.key.take() {
            Some(key) => self.table.raw_set(key, value),
            None => self.table.raw_set(self.items, value),
        }
    }
}

/// The value of `text`.
pub fn decode(lua: &Lua, text: &[u8], settings: &Settings) -> mlua::Result<Value> {
    let mut reader = Reader { lua, text, at: 0, settings };
    let value = reader.value()?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.expected("the end"));
    }
    Ok(value)
}

impl Reader<'_> {
    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The name that an error gives to what is at the reader's place.
    fn token(&self) -> &'static str {
        match self.peek() {
            None => "T_END",
            Some(b'{') => "T_OBJ_BEGIN",
            Some(b'}') => "T_OBJ_END",
            Some(b'[') => "T_ARR_BEGIN",
            Some(b']') => "T_ARR_END",
            Some(b',') => "T_COMMA",
            Some(b':') => "T_COLON",
            Some(b'"') => "T_STRING",
            Some(b'-' | b'0'..=b'9') => "T_NUMBER",
            Some(b't' | b'f') if self.word().is_some() => "T_BOOLEAN",
            Some(b'n') if self.word().is_some() => "T_NULL",
            _ => "invalid token",
        }
    }

    fn word(&self) -> Option<&'static str> {
        let rest = &self.text[self.at..];
        ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word.as_bytes()))
    }

    fn expected(&self, what: &str) -> mlua::Error {
        let text = format!("Expected {what} but found {} at character {}", self.token(), self.at + 1);
        raise_here(self.lua, text)
    }

    fn invalid(&self, what: &str, at: usize) -> mlua::Error {
        raise_here(self.lua, format!("Expected value but found {what} at character {}", at + 1))
    }

    /// A value that holds no others, or `None` in front of a table.
    fn scalar(&mut self) -> mlua::Result<Option<Value>> {
        self.blanks();
        Ok(Some(match self.peek() {
            Some(b'{' | b'[') => return Ok(None),
            Some(b'"') => Value::String(self.lua.create_string(self.string()?)?),
            Some(b'-' | b'+' | b'0'..=b'9' | b'i' | b'I' | b'N') => self.number()?,
            Some(b'n') if self.word().is_none() => self.number()?,
            _ => {
                let word = self.word().ok_or_else(|| self.expected("value"))?;
                self.at += word.len();
                match word {
                    "true" => Value::Boolean(true),
                    "false" => Value::Boolean(false),
                    _ => Value::NULL,
                }
            }
        }))
    }

    /// Begins the table at the reader's place.
    fn begin(&mut self, open: &mut Vec<Open>) -> mlua::Result<()> {
        if open.len() >= self.settings.decode_depth {
            let text = format!("Found too many nested data structures ({})", open.len() + 1);
            return Err(raise_here(self.lua, text));
        }
        let array = self.peek() == Some(b'[');
        self.at += 1;
        open.push(Open { table: self.lua.create_table()?, array, items: 0, key: None });
        Ok(())
    }

    /// Goes to the next item of a table (in an object, behind its key). False at the table's end.
    fn advance(&mut self, open: &mut Open) -> mlua::Result<bool> {
        self.blanks();
        let (end, expected) =
            if open.array { (b']', "comma or array end") } else { (b'}', "comma or object end") };
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(false);
        }
        if open.items > 0 {
            if self.peek() != Some(b',') {
                return Err(self.expected(expected));
            }
            self.at += 1;
            self.blanks();
        }
        open.items += 1;
        if !open.array {
            if self.peek() != Some(b'"') {
                return Err(self.expected("object key string"));
            }
            open.key = Some(self.lua.create_string(self.string()?)?);
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.expected("colon"));
            }
            self.at += 1;
        }
        Ok(true)
    }

    fn value(&mut self) -> mlua::Result<Value> {
        let mut open: Vec<Open> = Vec::new();
        let mut done = self.scalar()?;
        if done.is_none() {
            self.begin(&mut open)?;
        }
        loop {
            // A value that is complete goes into the table around it.
            if let Some(value) = done.take() {
                match open.last_mut() {
                    None => return Ok(value),
                    Some(around) => around.put(value)?,
                }
            }
            let Some(top) = open.last_mut() else { return Ok(Value::Nil) };
            if !self.advance(top)? {
                done = open.pop().map(|closed| Value::Table(closed.table));
                continue;
            }
            done = self.scalar()?;
            if done.is_none() {
                self.begin(&mut open)?;
            }
        }
    }

    fn string(&mut self) -> mlua::Result<Vec<u8>> {
        let start = self.at;
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.invalid("unexpected end of string", self.text.len())),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => self.escape(&mut out)?,
                Some(byte) if byte < 0x20 => return Err(self.invalid("invalid token", start)),
                Some(byte) => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> mlua::Result<()> {
        let at = self.at;
        let Some(&kind) = self.text.get(at + 1) else {
            return Err(self.invalid("unexpected end of string", self.text.len()));
        };
        self.at += 2;
        out.push(match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.at = at;
                let c = self.unicode().ok_or_else(|| self.invalid("invalid unicode escape code", at))?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.invalid("invalid escape code", at)),
        });
        Ok(())
    }

    /// `\uXXXX`, or two of them that are one character.
    fn unicode(&mut self) -> Option<char> {
        let high = self.code_unit()?;
        if !(0xd800..0xe000).contains(&high) {
            return char::from_u32(high);
        }
        let low = self.code_unit()?;
        char::decode_utf16([high as u16, low as u16]).next()?.ok()
    }

    fn code_unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 6)?.strip_prefix(b"\\u")?;
        let unit = digits.iter().try_fold(0, |n, b| Some(n * 16 + char::from(*b).to_digit(16)?))?;
        self.at += 6;
        Some(unit)
    }

    /// A number as C's `strtod` reads it: also hexadecimal, infinite and none, unless those are refused.
    fn number(&mut self) -> mlua::Result<Value> {
        let rest = &self.text[self.at..];
        let sign = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
        let unsigned = &rest[sign..];
        let negative = rest.first() == Some(&b'-');
        let signed = |n: f64| if negative { -n } else { n };
        let starts = |word: &str| {
            unsigned.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
        };
        let plain = rest.first() != Some(&b'+');
        if starts("inf") || starts("nan") || starts("0x") || !plain {
            if !self.settings.decode_invalid || !plain {
                return Err(self.expected("value"));
            }
            if starts("0x") {
                let digits = unsigned[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
                let value = unsigned[2..2 + digits]
                    .iter()
                    .fold(0.0, |n, b| n * 16.0 + f64::from(char::from(*b).to_digit(16).unwrap_or(0)));
                self.at += sign + 2 + digits;
                return Ok(Value::Number(signed(value)));
            }
            let word = ["infinity", "inf", "nan"].into_iter().find(|word| starts(word)).unwrap_or("nan");
            self.at += sign + word.len();
            return Ok(Value::Number(signed(if word == "nan" { f64::NAN } else { f64::INFINITY })));
        }
        let len = number_length(unsigned);
        let leading_zero = unsigned.len() > 1 && unsigned[0] == b'0' && unsigned[1].is_ascii_digit();
        if leading_zero && !self.settings.decode_invalid {
            return Err(self.expected("value"));
        }
        let digits = std::str::from_utf8(&unsigned[..len]).ok().and_then(|text| text.parse::<f64>().ok());
        let Some(value) = digits else {
            return Err(self.invalid("invalid number", self.at));
        };
        self.at += sign + len;
        Ok(Value::Number(signed(value)))
    }
}

/// How many bytes belong to a decimal number.
fn number_length(text: &[u8]) -> usize {
    let digits = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    if text.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = text.get(end + 1 + sign..).map_or(0, |_| digits(end + 1 + sign));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}
