//! Stop strings over streamed text.
//!
//! A stop string may be spread over tokens, and a client must never see its beginning. So the end
//! of the text that could still become a stop string is held back until it is clear.

/// The state of one stream.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What one piece of text brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Text that may be shown.
    pub text: String,
    /// Whether a stop string was completed: the answer ends with `text`.
    pub stopped: bool,
}

impl StopMatcher {
    /// Watches for these strings; empty ones are ignored.
    #[must_use]
    pub fn new(stops: &[String]) -> Self {
        Self {
            stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            held: String::new(),
        }
    }

    /// Takes the next piece. The stop string that is completed first ends the text, whatever the
    /// pieces are (of two that end together, the longer one). After `stopped` the matcher is empty.
    pub fn push(&mut self, piece: &str) -> Checked {
        if self.stops.is_empty() {
            return Checked { text: piece.to_owned(), stopped: false };
        }
        self.held.push_str(piece);
        let first = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop).map(|start| (start + stop.len(), start)))
            .min();
        if let Some((_, start)) = first {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return Checked { text, stopped: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - keep);
        Checked { text: std::mem::replace(&mut self.held, held), stopped: false }
    }

    /// Ends the stream: what was held back is text after all.
    #[must_use]
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that is a beginning of `stop`, in bytes.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        // Both cuts must lie between characters; equal bytes then mean equal text.
        .find(|&n| stop.is_char_boundary(n) && text.as_bytes().ends_with(&stop.as_bytes()[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut text = String::new();
        for piece in pieces {
            let checked = matcher.push(piece);
            text.push_str(&checked.text);
            if checked.stopped {
                return (text, true);
            }
        }
        (text + &matcher.finish(), false)
    }

    #[test]
    fn a_stop_string_over_several_pieces() {
        assert_eq!(run(&["\nUser:"], &["Hi\n", "Us", "er", ": x"]), ("Hi".to_owned(), true));
    }

    #[test]
    fn a_false_start_is_shown_in_the_end() {
        assert_eq!(run(&["abc"], &["xa", "b", "d"]), ("xabd".to_owned(), false));
        assert_eq!(run(&["abc"], &["xa", "b"]), ("xab".to_owned(), false));
    }

    #[test]
    fn the_beginning_of_a_stop_string_is_never_shown() {
        let mut matcher = StopMatcher::new(&["END".to_owned()]);
        assert_eq!(matcher.push("the E").text, "the ");
        assert_eq!(matcher.push("N").text, "");
        assert_eq!(matcher.push("V").text, "ENV");
    }

    /// Character by character: the first end at which some stop string matches, longest first.
    fn naive(stops: &[String], text: &str) -> (String, bool) {
        for end in (1..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let longest = stops
                .iter()
                .filter(|s| !s.is_empty() && text[..end].ends_with(*s))
                .max_by_key(|s| s.len());
            if let Some(stop) = longest {
                return (text[..end - stop.len()].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            stops in prop::collection::vec("[abé]{0,4}", 0..4),
            pieces in prop::collection::vec("[abé]{0,5}", 0..12),
        ) {
            let borrowed: Vec<&str> = stops.iter().map(String::as_str).collect();
            let cut: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&borrowed, &cut), naive(&stops, &pieces.concat()));
        }
    }
}
