//! Names as Kubernetes has them.

/// A part of a host name: at most 63 lower-case letters, digits and dashes, letters or digits at both ends.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_part(text)
}

/// Parts with points between them, at most 253 characters.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

fn is_dns_part(part: &str) -> bool {
    let ends = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends(part.bytes().next())
        && ends(part.bytes().last())
        && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

/// A key of a label: an optional domain, a slash, and at most 63 characters.
pub fn is_qualified_name(text: &str) -> bool {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    domain.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// A value of a label: at most 63 letters, digits, dashes, underscores and points; it may be empty.
pub fn is_label_value(text: &str) -> bool {
    let ends = |c: Option<u8>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && ends(text.bytes().next())
        && ends(text.bytes().last())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}
