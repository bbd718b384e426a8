//! What the sender was told of their expert, in the one field that version 1 has for it.
//!
//! The field holds the time of the word that nothing is bound. A negative one is its complement and says
//! as well that the sender knows the expert to be away. Who does not know of that takes it for a time
//! long past, which is as if nothing had been said, and passes it on as it is.

use crate::domain::time::Timestamp;

pub(super) fn write(told_unbound_at: Option<Timestamp>, is_told_away: bool) -> Option<i64> {
    let at = told_unbound_at.map(|at| at.0);
    if is_told_away { Some(!at.unwrap_or(0).max(0)) } else { at }
}

/// Since when the sender knows that nothing is bound, and whether that the expert is away.
pub(super) fn read(field: Option<i64>) -> (Option<Timestamp>, bool) {
    let is_told_away = field.is_some_and(|field| field < 0);
    let at = field.map(|field| if is_told_away { !field } else { field });
    (at.filter(|at| !is_told_away || *at > 0).map(Timestamp), is_told_away)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_read_as_they_were_written() {
        for at in [None, Some(Timestamp(1)), Some(Timestamp(1_700_000_000_000))] {
            for is_told_away in [false, true] {
                assert_eq!(read(write(at, is_told_away)), (at, is_told_away));
            }
        }
        assert_eq!(read(Some(1_700_000_000_000)), (Some(Timestamp(1_700_000_000_000)), false));
        assert_eq!(read(None), (None, false));
    }
}
