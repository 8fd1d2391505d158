//! The common syntax of broker and database addresses: where their parts end.
//!
//! A password with `/`, `?` or `#` in it ends the part that names the host too early. The rest of the password would
//! then be taken for a host, looked up in the DNS and shown. So such an address is refused, and no part of it is
//! repeated.

/// How to write a password that an address carries.
pub(super) const ENCODE: &str = "special characters of a user name or password as %XX (/ is %2F, @ is %40, ? is %3F, # is \
                                 %23), or better in password_file";

/// What is wrong with the parts of what follows `://`, if anything is.
pub(super) fn misread(rest: &str) -> Option<&'static str> {
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    if rest[end..].contains('@') {
        return Some("has an `@` behind the host: a character of the user name or password ends them too early");
    }
    rest.contains(|c: char| c.is_control()).then_some("has a line break, a tab or another control character in it")
}

/// Whether a text can be a host's name or address: a host with anything else in it is half of a password.
pub(super) fn is_host(text: &str) -> bool {
    let is_address = text.parse::<std::net::Ipv6Addr>().is_ok()
        || text.split_once('%').is_some_and(|(address, zone)| {
            address.parse::<std::net::Ipv6Addr>().is_ok() && zone.chars().all(|c| c.is_ascii_alphanumeric())
        });
    is_address
        || !text.contains(|c: char| c.is_whitespace() || c.is_control() || "@:/?#%\\[]{}<>\"'`,;=&^|".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_at_sign_behind_the_host_is_part_of_a_password() {
        for rest in ["u:a/b@h", "u:a@b/c@h/d", "u:a?b@h", "u:a#b@h", "u:a\\b@h", "h/d?user=a@b"] {
            assert!(misread(rest).is_some_and(|problem| problem.contains('@')), "{rest}");
        }
        for rest in ["h", "u:p@h", "u@x:p@y@h:1/d?a=b", "u:%2F@h/", ""] {
            assert_eq!(misread(rest), None, "{rest}");
        }
        assert!(misread("u:a\tb@h").is_some());
    }

    #[test]
    fn a_host_has_none_of_the_characters_that_part_an_address() {
        for host in ["h", "h-1.example", "10.0.0.1", "::1", "fe80::1%eth0", "my_broker", "bücher.example"] {
            assert!(is_host(host), "{host}");
        }
        for text in ["u@h", "u:p", "a b", "a%40b", "a/b", "[::1"] {
            assert!(!is_host(text), "{text}");
        }
    }
}
