//! Whether a type and a topic are those that a duty names.

/// Whether a duty's pattern means a type: itself, or all that begin with what is before a final `*`.
pub(super) fn fits_type(pattern: &str, event_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => event_type.starts_with(beginning),
        None => pattern == event_type,
    }
}

/// MQTT 5, section 4.7.1: `+` is any level, and a final `#` any number of them, the parent included.
pub(in crate::event) fn fits_topic(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match levels.next() {
            Some(actual) if level == "+" || level == actual => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
