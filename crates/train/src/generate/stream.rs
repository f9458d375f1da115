//! The text of tokens as they come: whole characters only, up to a stop string.

use crate::tokenizer::{Decoder, Tokenizer};

/// A text under way. It holds back what may still become part of a character or of a stop string.
pub struct TextStream<'a> {
    decoder: Option<Decoder<'a>>,
    stops: Vec<String>,
    held: String,
    is_stopped: bool,
}

impl<'a> TextStream<'a> {
    /// The text after the tokens `prompt`, which ends before the first of `stops`; empty ones are ignored.
    pub fn new(tokenizer: &'a Tokenizer, prompt: &[u32], stops: &[String]) -> TextStream<'a> {
        let mut decoder = tokenizer.decoder();
        prompt.iter().for_each(|&token| {
            decoder.push(token);
        });
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        TextStream { decoder: Some(decoder), stops, held: String::new(), is_stopped: false }
    }

    /// Adds a token; returns the text that is certain now.
    pub fn push(&mut self, token: u32) -> String {
        let text = self.decoder.as_mut().map_or(String::new(), |decoder| decoder.push(token));
        self.advance(&text)
    }

    /// Whether a stop string was found: the text has ended.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Ends the text: the rest of it. An incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let rest = self.decoder.take().map_or(String::new(), Decoder::finish);
        let mut text = self.advance(&rest);
        text.push_str(&std::mem::take(&mut self.held));
        text
    }

    fn advance(&mut self, text: &str) -> String {
        if self.is_stopped {
            return String::new();
        }
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.is_stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        // The longest end of the text that a stop string begins with.
        let begins = |&at: &usize| {
            let end = &self.held[at..];
            self.stops.iter().any(|stop| stop.len() > end.len() && stop.starts_with(end))
        };
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        let mut starts = (from..self.held.len()).filter(|&at| self.held.is_char_boundary(at));
        let keep = starts.find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        std::mem::replace(&mut self.held, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        let texts = ["a text of which no pair of letters is of use".to_owned()];
        Tokenizer::train(texts.into_iter().map(Ok), crate::tokenizer::MIN_BPE_VOCAB).unwrap()
    }

    /// The pieces of `text`, a token at a time, and whether it was stopped.
    fn pieces(text: &str, stops: &[&str]) -> (Vec<String>, bool) {
        let tokenizer = tokenizer();
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut stream = TextStream::new(&tokenizer, &[], &stops);
        let mut pieces = Vec::new();
        for token in tokenizer.encode(text).unwrap() {
            pieces.push(stream.push(token));
            if stream.is_stopped() {
                break;
            }
        }
        pieces.push(stream.finish());
        (pieces, stream.is_stopped())
    }

    #[test]
    fn characters_are_whole_across_tokens() {
        let tokenizer = tokenizer();
        assert!(tokenizer.encode("🦀").unwrap().len() > 1, "an emoji of several tokens");
        let (pieces, stopped) = pieces("a🦀e\u{301}b", &[]);
        assert_eq!((pieces.concat().as_str(), stopped), ("a🦀e\u{301}b", false));
        assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
        // A text that ends within a character says so.
        let mut stream = TextStream::new(&tokenizer, &[], &[]);
        let first = tokenizer.encode("🦀").unwrap()[0];
        assert_eq!((stream.push(first), stream.finish()), (String::new(), "\u{fffd}".to_owned()));
    }

    #[test]
    fn stop_strings_are_found_across_tokens() {
        for (text, stops, want) in [
            ("one two three", &["two"][..], Some("one ")),
            ("one two three", &["three", "wo t"], Some("one t")),
            ("aaab", &["aab"], Some("a")),
            ("no end", &["ends", "xyz", ""], None),
            ("é🦀 and", &["🦀"], Some("é")),
            ("\n\nUser: x", &["\nUser:"], Some("\n")),
        ] {
            let (pieces, stopped) = pieces(text, stops);
            assert_eq!(pieces.concat(), want.unwrap_or(text), "{text:?} {stops:?}");
            assert_eq!(stopped, want.is_some(), "{text:?} {stops:?}");
        }
    }

    #[test]
    fn text_that_no_stop_begins_with_is_not_held() {
        let (pieces, _) = pieces("abcd", &["xy"]);
        assert_eq!(pieces, ["a", "b", "c", "d", ""]);
        let (pieces, _) = self::pieces("axbd", &["xy"]);
        assert_eq!(pieces, ["a", "", "xb", "d", ""]);
    }
}
