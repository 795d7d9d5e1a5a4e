//! Server-sent events: bytes in, whole events out.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The `id` field.
    pub id: Option<String>,
    /// The `event` field.
    pub event: Option<String>,
    /// The `data` lines, joined by newlines.
    pub data: String,
}

/// Cuts a stream of bytes into events, wherever the network cut it before.
///
/// Lines end with `\n` or `\r\n`; an empty line ends an event; comments and unknown fields are
/// passed over; an event without data is none.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
}

impl SseParser {
    /// Takes the next bytes; the events that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<SseEvent> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            events.extend(self.end_of_line(&String::from_utf8_lossy(line)));
        }
        events
    }

    fn end_of_line(&mut self, line: &str) -> Option<SseEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.event = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": keep-alive\n\nid: 7\r\nevent: progress\ndata: {\"a\":\ndata:\"ä\"}\n\nretry: 5\n\ndata: [DONE]\n\ndata: cut off";

    fn expected() -> Vec<SseEvent> {
        vec![
            SseEvent {
                id: Some("7".into()),
                event: Some("progress".into()),
                data: "{\"a\":\n\"ä\"}".into(),
            },
            SseEvent { data: "[DONE]".into(), ..SseEvent::default() },
        ]
    }

    #[test]
    fn events_come_out_whole() {
        assert_eq!(SseParser::default().push(STREAM.as_bytes()), expected());
    }

    proptest! {
        #[test]
        fn where_the_network_cuts_does_not_matter(cuts in prop::collection::vec(1usize..9, 1..60)) {
            let (mut parser, mut events, mut rest) = (SseParser::default(), vec![], STREAM.as_bytes());
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                events.extend(parser.push(now));
                rest = later;
            }
            prop_assert_eq!(events, expected());
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            SseParser::default().push(&bytes);
        }
    }
}
