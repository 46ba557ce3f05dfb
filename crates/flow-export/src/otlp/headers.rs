//! Headers of one's own: tokens, and whose the records are.

use std::fmt;
use tonic::codegen::http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING,
};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

/// Their values are secrets: nothing here tells them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(HeaderMap);

impl Headers {
    /// Reads what `OTEL_EXPORTER_OTLP_HEADERS` may hold, in one or several lines: `key=value`, separated by commas, in values
    /// `%XX` for what is no plain letter.
    ///
    /// # Errors
    /// In words, with the line and perhaps the key, and without a value: it is something else, or a header that is not one's to choose.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut all = HeaderMap::new();
        for (number, line) in text.lines().enumerate() {
            for pair in line.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
                let (name, value) = header(pair).map_err(|why| format!("line {}: {why}", number + 1))?;
                if all.len() >= MOST {
                    return Err(format!("more than {MOST} headers"));
                }
                if all.insert(name.clone(), value).is_some() {
                    return Err(format!("line {}: {name} is there twice", number + 1));
                }
            }
        }
        Ok(Self(all))
    }

    /// As they are sent.
    pub(super) fn map(&self) -> &HeaderMap {
        &self.0
    }

    /// What a receiver says, without what only it should know: some say which token they don't like.
    pub(super) fn hidden(&self, said: String) -> String {
        let texts = self.0.values().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
        let mut words: Vec<&str> = texts.flat_map(str::split_whitespace).filter(|word| word.len() >= SECRET).collect();
        // A part of another would leave the rest of it.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.into_iter().fold(said, |said, word| said.replace(word, "[hidden]"))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn header(pair: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (key, value) = pair.split_once('=').ok_or("a header is written key=value")?;
    let name: HeaderName = key.trim().parse().map_err(|_| "what stands before = is no name of a header")?;
    // Of gRPC's own, and those of bytes, which would be base64.
    if OURS.contains(&name) || name.as_str().starts_with("grpc-") || name.as_str().ends_with("-bin") {
        return Err(format!("{name} is none of those that can be chosen"));
    }
    let bytes = decoded(value.trim()).ok_or_else(|| format!("{name}: after each % come two hexadecimal digits"))?;
    let mut value = HeaderValue::from_bytes(&bytes)
        .map_err(|_| format!("{name}: its value has letters that a header can't have"))?;
    // Neither shown nor kept in a table that both ends share.
    value.set_sensitive(true);
    Ok((name, value))
}

/// Without RFC 3986's `%XX`.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        (rest, _) = match (first, after) {
            (b'%', [high, low, after @ ..]) => (after, out.push(digit(*high)? << 4 | digit(*low)?)),
            (b'%', _) => return None,
            (other, after) => (after, out.push(*other)),
        };
    }
    Some(out)
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// What says how a message is to be read is not one's to choose.
const OURS: [HeaderName; 7] = [CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING];
/// Servers take about a hundred, with ours.
const MOST: usize = 64;
/// Letters of a word from which on it may be a secret.
const SECRET: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_opentelemetry_has_them_and_in_lines() {
        let read =
            Headers::read("authorization=Bearer%20a=b,x-scope = shop\n\n tenant=ann smith \r\nempty=\n").unwrap();
        let told: Vec<_> = read.map().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected = [("authorization", "Bearer a=b"), ("x-scope", "shop"), ("tenant", "ann smith"), ("empty", "")];
        assert_eq!(told, expected);
        assert_eq!(Headers::read("").unwrap(), Headers::default());
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_without_a_value() {
        for (text, words) in [
            ("a=1\nsecret", "line 2: a header is written key=value"),
            ("secret word=1", "line 1: what stands before = is no name"),
            ("a=secret%2", "line 1: a: after each %"),
            ("a=secret%zz", "line 1: a: after each %"),
            ("a=secret%0d%0ab: c", "line 1: a: its value has letters"),
            ("a=secret\nA=secret", "line 2: a is there twice"),
            ("Content-Type=secret", "line 1: content-type is none"),
            ("grpc-timeout=secret", "grpc-timeout is none"),
            ("token-bin=secret", "token-bin is none"),
        ] {
            let why = Headers::read(text).unwrap_err();
            assert!(why.contains(words) && !why.contains("secret"), "{text}: {why}");
        }
        let many: String = (0..65).map(|number| format!("h{number}=1\n")).collect();
        assert_eq!(Headers::read(&many).unwrap_err(), "more than 64 headers");
    }

    #[test]
    fn nobody_sees_a_value() {
        let headers = Headers::read("authorization=Bearer abcdef abcd,tenant=7").unwrap();
        assert_eq!(format!("{headers:?}"), r#"{"authorization", "tenant"}"#);
        assert!(!format!("{:?}", headers.map()).contains("abc"));
        let said = "7 of tokens: 'abcdef' is not abcd".to_owned();
        assert_eq!(headers.hidden(said), "7 of tokens: '[hidden]' is not [hidden]");
    }
}
