//! Patterns as they are stored and sent: the text that an operator wrote, or one that means the same.

/// Has types be stored as texts: what [`Display`](std::fmt::Display) writes, [`FromStr`](std::str::FromStr) reads. For `serde(try_from = "String", into = "String")`.
macro_rules! stored_as_text {
    ($($pattern:ty => $error:ty),+ $(,)?) => {$(
        impl TryFrom<String> for $pattern {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$pattern> for String {
            fn from(pattern: $pattern) -> Self {
                pattern.to_string()
            }
        }
    )+};
}

pub(crate) use stored_as_text;
