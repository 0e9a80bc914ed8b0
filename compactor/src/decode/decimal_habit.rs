//! How a topic writes DECIMALs where its records bear no schema: told by the values themselves. PURE.

use crate::decode::{Fault, quoted, scalar};

/// How a topic writes decimals when nothing but the values tells; learned from unambiguous ones.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub(super) enum DecimalHabit {
    /// No unambiguous value yet.
    #[default]
    Unknown,
    /// Base64 of the unscaled number: `decimal.handling.mode=precise`.
    Unscaled,
    /// Digits: `decimal.handling.mode=string`.
    Digits,
}

impl DecimalHabit {
    /// `1234` is a number as well as base64. A sign, a point or a missing letter tells; where
    /// nothing does, what the topic did before decides; and if it did nothing yet, nobody can.
    /// What contradicts the habit is refused: one stray value must not turn those after it.
    pub(super) fn of(&mut self, text: &str, scale: u8) -> Result<DecimalHabit, Fault> {
        let is_base64 = text.len().is_multiple_of(4) && scalar::base64(text).is_some();
        let is_number = scalar::decimal(text, scale).is_some();
        let told = match (is_base64, is_number, *self) {
            (true, true, DecimalHabit::Unknown) => {
                // A number of a column with a scale is mostly written with its point: good enough
                // for this value, not for those to come.
                return match scale > 0 && !text.contains(['.', '+', 'E', 'e']) {
                    true => Ok(DecimalHabit::Unscaled),
                    false => Err(Fault::value(format!(
                        "{} may be a number or base64 of one: send the schema with the record, or \
                         declare the column STRING",
                        quoted(text)
                    ))),
                };
            }
            (true, true, known) => return Ok(known),
            (false, false, _) => return Ok(DecimalHabit::Digits),
            (true, false, _) => DecimalHabit::Unscaled,
            (false, true, _) => DecimalHabit::Digits,
        };
        if *self != DecimalHabit::Unknown && *self != told {
            let (is, was) = match told {
                DecimalHabit::Unscaled => ("base64", "digits"),
                _ => ("digits", "base64"),
            };
            let text = quoted(text);
            return Err(Fault::value(format!(
                "{text} is a number in {is}, and the topic wrote {was} before"
            )));
        }
        *self = told;
        Ok(told)
    }
}
