//! Server-sent events, read as they come: bytes in pieces of any size, events out.
//!
//! Follows the HTML standard: lines end in LF, CR or CRLF, comments are skipped, several `data` lines
//! join with LF, an event that is not closed by an empty line is not an event. Lines and events have
//! a limit, so that a broken server cannot fill the memory.

/// A line or the data of one event may not be longer.
const EVENT_MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The field `id` of this very event.
    pub id: Option<String>,
    /// The field `event`; absent for ordinary events.
    pub kind: Option<String>,
    pub data: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("an event of the stream is longer than {EVENT_MAX_BYTES} bytes")]
    TooLong,
}

#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was a CR: an LF right after it belongs to it.
    is_after_cr: bool,
    has_begun: bool,
    id: Option<String>,
    kind: Option<String>,
    data: Option<String>,
}

impl Parser {
    /// The events that `bytes` completes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' if self.is_after_cr => self.is_after_cr = false,
                b'\n' | b'\r' => {
                    self.is_after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.take_line(&line)?);
                }
                _ => {
                    self.is_after_cr = false;
                    if self.line.len() >= EVENT_MAX_BYTES {
                        return Err(Error::TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(events)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Event>, Error> {
        let text = String::from_utf8_lossy(line);
        let mut text = text.as_ref();
        if !self.has_begun {
            self.has_begun = true;
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            let (id, kind) = (self.id.take(), self.kind.take());
            return Ok(self.data.take().map(|data| Event { id, kind, data }));
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "event" => self.kind = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) if data.len() + value.len() >= EVENT_MAX_BYTES => {
                    return Err(Error::TooLong);
                }
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment, `retry`, or a field of a later standard.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(id: Option<&str>, kind: Option<&str>, data: &str) -> Event {
        Event { id: id.map(Into::into), kind: kind.map(Into::into), data: data.into() }
    }

    #[test]
    fn streams_read_as_the_standard_says() {
        let table: [(&str, Vec<Event>); 10] = [
            ("data: a\n\n", vec![event(None, None, "a")]),
            ("\u{feff}data:a\r\n\r\n", vec![event(None, None, "a")]),
            ("data: a\rdata:  b\r\r", vec![event(None, None, "a\n b")]),
            (": keep-alive\n\n\ndata: x\n\n", vec![event(None, None, "x")]),
            (
                "id: 1-0\nevent: complete\ndata: {}\n\ndata: y\n\n",
                vec![event(Some("1-0"), Some("complete"), "{}"), event(None, None, "y")],
            ),
            ("data: open", vec![]),
            ("data: open\n", vec![]),
            ("data\n\n", vec![event(None, None, "")]),
            ("event: x\n\ndata: a\nretry: 5\nother: 1\n\n", vec![event(None, None, "a")]),
            ("data: 你\n\n", vec![event(None, None, "你")]),
        ];
        for (stream, expected) in table {
            assert_eq!(Parser::default().push(stream.as_bytes()).unwrap(), expected, "{stream:?}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; 1024 * 1024];
        let outcome = (0..5).map(|_| parser.push(&chunk)).find(Result::is_err);
        assert_eq!(outcome, Some(Err(Error::TooLong)));
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_into_chunks_does_not_matter(
            cuts in proptest::collection::vec(1usize..7, 1..60),
        ) {
            let stream = "\u{feff}id: 1\r\ndata: 你好\r\ndata: b\r\n\r\n: c\n\nevent: e\rdata:\r\rdata: z\n\n";
            let whole = Parser::default().push(stream.as_bytes()).unwrap();
            let mut parser = Parser::default();
            let mut found = Vec::new();
            let mut rest = stream.as_bytes();
            for cut in cuts.into_iter().cycle() {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                found.extend(parser.push(chunk).unwrap());
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, whole);
        }
    }
}
