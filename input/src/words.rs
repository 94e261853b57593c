//! Closed sets of values, each value with its word: one table a set serves reading, writing and error messages.

/// A closed set of values, each with the word that stands for it.
pub trait Word: Copy + PartialEq + 'static {
    /// What one of them is called in an error message.
    const KIND: &'static str;
    /// Every value with its word, in the order in which they are listed to the user.
    const WORDS: &'static [(&'static str, Self)];

    /// The word of this value.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }

    /// Reads a word.
    ///
    /// # Errors
    ///
    /// One sentence for the user that lists the known words.
    fn parse(text: &str) -> Result<Self, String> {
        if let Some((_, value)) = Self::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let known: Vec<&str> = Self::WORDS.iter().map(|(word, _)| *word).collect();
        let hint = did_you_mean(text, known.iter().copied());
        Err(format!("{text:?} is not a known {}{hint} (known: {})", Self::KIND, known.join(", ")))
    }
}

/// `; did you mean …?` when one of the candidates is near, else nothing.
#[must_use]
pub fn did_you_mean<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    // Jaro-Winkler at 0.8 is what clap suggests by, so words, keys and flags behave alike.
    let near = candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    near.map_or_else(String::new, |(_, candidate)| format!("; did you mean {candidate:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Colour {
        Red,
        Green,
    }

    impl Word for Colour {
        const KIND: &'static str = "colour";
        const WORDS: &'static [(&'static str, Self)] = &[("red", Self::Red), ("green", Self::Green)];
    }

    #[test]
    fn words_and_values_belong_together() {
        for (word, value) in Colour::WORDS {
            assert_eq!(Colour::parse(word), Ok(*value));
            assert_eq!(value.word(), *word);
        }
    }

    #[test]
    fn a_misspelt_word_is_met_with_the_near_one() {
        let message = Colour::parse("gren").expect_err("misspelt");
        assert_eq!(message, "\"gren\" is not a known colour; did you mean \"green\"? (known: red, green)");
        assert_eq!(did_you_mean("blue", ["red", "green"]), "");
    }
}
