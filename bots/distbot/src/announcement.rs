//! What an event says of a publication that is larger than an event may be.

use serde::Serialize;

/// Bytes that the list of packages, and that of files, may have in an event. The host takes 256 KiB.
pub const MAX_LIST: usize = 96 * 1024;

/// Bytes that the list of files that stayed as they were published may have: some 150 of them.
pub const MAX_KEPT: usize = 32 * 1024;

/// Have a list fit into so many bytes of an event: what is too much is left out at its end. Returns how many were.
pub fn shorten<T: Serialize>(list: &mut Vec<T>, limit: usize) -> usize {
    let mut bytes = 0;
    let fits = |item: &T| {
        // With the comma. What can't be written at all fails where the event is written.
        bytes += serde_json::to_string(item).map_or(0, |json| json.len() + 1);
        bytes <= limit
    };
    let named = list.iter().map(fits).take_while(|fits| *fits).count();
    list.drain(named..).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_fit_into_one_event() {
        let of_an_event = 256 * 1024;
        assert!(2 * MAX_LIST + MAX_KEPT <= of_an_event - 16 * 1024);
        // Each with a name and two digests.
        let mut kept = vec!["x".repeat(200); 1000];
        let omitted = shorten(&mut kept, MAX_KEPT);
        assert!(omitted > 0 && kept.len() > 150 && kept.len() + omitted == 1000);
    }

    #[test]
    fn what_fits_stays_whole() {
        let mut list = vec!["a".repeat(100); 900];
        assert_eq!(shorten(&mut list, MAX_LIST), 0);
        assert_eq!(list.len(), 900);
    }

    #[test]
    fn the_first_stay_and_the_rest_is_counted() {
        let mut list: Vec<_> = (0..5000).map(|number| format!("{number:0100}")).collect();
        let omitted = shorten(&mut list, MAX_LIST);
        assert_eq!(list.len() + omitted, 5000);
        assert!(serde_json::to_string(&list).unwrap().len() <= MAX_LIST + 2);
        assert!(list.len() > 900);
        assert_eq!(list[17], format!("{:0100}", 17));
    }
}
