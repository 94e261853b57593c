//! The words of the audit's closed sets.

pub use netsonde_input::words::Word;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AddressClass, ChangeKind, Transport};
    use crate::policy::Action;

    fn each_word_is_read_as_its_value<T: Word + std::fmt::Debug>() {
        for (word, value) in T::WORDS {
            assert_eq!(T::parse(word), Ok(*value));
            assert_eq!(value.word(), *word);
        }
    }

    #[test]
    fn words_and_values_belong_together() {
        each_word_is_read_as_its_value::<Transport>();
        each_word_is_read_as_its_value::<AddressClass>();
        each_word_is_read_as_its_value::<Action>();
        each_word_is_read_as_its_value::<ChangeKind>();
    }

    #[test]
    fn a_misspelt_word_is_met_with_the_near_one() {
        let problem = Transport::parse("packt").expect_err("no transport");
        assert!(
            problem.contains("did you mean \"packet\"?") && problem.contains("sctp, raw, packet"),
            "{problem}"
        );
    }
}
