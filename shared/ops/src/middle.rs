//! The middle of a few values.

/// The middle one; of two in the middle, the smaller. That none need be put in order saves the code that sorts, and there are few.
pub(crate) fn middle<T: Ord + Copy>(values: &[T]) -> Option<T> {
    let half = values.len().saturating_sub(1).div_euclid(2);
    let is_middle = |value: &&T| {
        let below = values.iter().filter(|other| other < value).count();
        let same = values.iter().filter(|other| other == value).count();
        (below..below.saturating_add(same)).contains(&half)
    };
    values.iter().find(is_middle).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_where_it_would_be_in_order(mut values in prop::collection::vec(0_u64..20, 0..30)) {
            let found = middle(&values);
            values.sort_unstable();
            prop_assert_eq!(found, values.get(values.len().saturating_sub(1) / 2).copied());
        }
    }
}
