//! libpq's two forms of a connection: `postgres://user@host:port,host:port/database?name=value` and
//! `host=… dbname='…'`, both split into parameters with libpq's names.
//!
//! Errors repeat nothing of the text: a password in the wrong place would look like a host or a port.

use std::collections::BTreeMap;

use super::address::misread;
use crate::config::percent::percent_decode;

/// libpq's parameters by name; several hosts and ports are separated by commas.
pub(super) type Parameters = BTreeMap<String, String>;

const URL_PREFIXES: [&str; 2] = ["postgres://", "postgresql://"];

/// Whether a text is meant to be one of the two forms.
pub(super) fn is_connection(text: &str) -> bool {
    let first_word = text.split([' ', ':']).next().unwrap_or_default();
    URL_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) || first_word.contains('=')
}

pub(super) fn parse(text: &str) -> Result<Parameters, String> {
    match URL_PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        Some(rest) => match misread(rest) {
            Some(problem) => Err(problem.to_owned()),
            None => parse_url(rest),
        },
        None => parse_pairs(text),
    }
}

/// What follows `postgres://`: `user:password@host:port,host:port/database?name=value&…`.
fn parse_url(rest: &str) -> Result<Parameters, String> {
    const NOT_TEXT: &str = "is not UTF-8 text after resolving %XX";
    let decode = |text: &str| percent_decode(text).ok_or(NOT_TEXT.to_owned());
    let mut parameters = Parameters::new();
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = before_query.split_once('/').unwrap_or((before_query, ""));
    let (userinfo, hosts) = match authority.rsplit_once('@') {
        Some((userinfo, hosts)) => (Some(userinfo), hosts),
        None => (None, authority),
    };
    if let Some(userinfo) = userinfo {
        let (user, password) = match userinfo.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (userinfo, None),
        };
        parameters.insert("user".to_owned(), decode(user)?);
        if let Some(password) = password {
            parameters.insert("password".to_owned(), decode(password)?);
        }
    }
    if !hosts.is_empty() {
        let pairs = hosts.split(',').map(host_and_port).collect::<Result<Vec<_>, String>>()?;
        let list = |pick: fn(&(String, String)) -> &str| pairs.iter().map(pick).collect::<Vec<_>>().join(",");
        parameters.insert("host".to_owned(), list(|(host, _)| host));
        if pairs.iter().any(|(_, port)| !port.is_empty()) {
            parameters.insert("port".to_owned(), list(|(_, port)| port));
        }
    }
    if !database.is_empty() {
        parameters.insert("dbname".to_owned(), decode(database)?);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, content) = pair.split_once('=').ok_or("has a parameter without `=`".to_owned())?;
        parameters.insert(decode(name)?, decode(content)?);
    }
    parameters.retain(|_, content| !content.is_empty());
    Ok(parameters)
}

/// One `host:port`, `[v6]:port` or `%2Fsocket%2Fdirectory`; the port may be empty.
fn host_and_port(text: &str) -> Result<(String, String), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("has a `[` without `]`".to_owned())?;
            let port = if after.is_empty() { Some("") } else { after.strip_prefix(':') };
            (host, port.ok_or("has something after `]` that is not a port".to_owned())?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let host = percent_decode(host).ok_or("has a host that is not UTF-8 text".to_owned())?;
    Ok((host, port.to_owned()))
}

/// libpq's `name=value name='quoted value'`.
fn parse_pairs(text: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("has a word without `=`".to_owned())?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err("has a word without `=`".to_owned());
        }
        let (content, after) = pair_value(after.trim_start())?;
        parameters.insert(name.to_owned(), content);
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// A value, quoted or up to the next space, and what follows it.
fn pair_value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.starts_with('\'');
    let mut content = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => content.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((content, &text[at + 1..])),
            _ if !quoted && c.is_whitespace() => return Ok((content, &text[at..])),
            _ => content.push(c),
        }
    }
    if quoted { Err("has an unclosed quote".to_owned()) } else { Ok((content, "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(
            parsed("postgres://u:p%40w@h1:5432,h2,[::1]:5/d%2Fb?sslmode=require&options=-c%20a%3Db"),
            pairs(&[
                ("dbname", "d/b"),
                ("host", "h1,h2,::1"),
                ("options", "-c a=b"),
                ("password", "p@w"),
                ("port", "5432,,5"),
                ("sslmode", "require"),
                ("user", "u"),
            ])
        );
        assert_eq!(parsed("postgresql://"), pairs(&[]));
        assert_eq!(parsed("postgres:///d"), pairs(&[("dbname", "d")]));
        assert_eq!(parsed("postgres://%2Frun%2Fpg/d"), pairs(&[("dbname", "d"), ("host", "/run/pg")]));
        assert_eq!(parsed("postgres://u@w:x@h"), pairs(&[("host", "h"), ("password", "x"), ("user", "u@w")]));
    }

    #[test]
    fn pairs_are_taken_apart() {
        assert_eq!(
            parsed(r"host=h user = u password='a b\'c\\' dbname=d\ e application_name=''"),
            pairs(&[
                ("application_name", ""),
                ("dbname", "d e"),
                ("host", "h"),
                ("password", r"a b'c\"),
                ("user", "u")
            ])
        );
    }

    #[test]
    fn errors_repeat_nothing_of_the_text() {
        for text in [
            "postgres://h?hunter2",
            "postgres://[hunter2/d",
            "postgres://[::1]hunter2/d",
            "host=h hunter2",
            "host=h password='hunter2",
            "postgres://%FFhunter2/d",
            "postgres://u:a@top/hunter2@h/d",
            "postgres://u:a#hunter2/b@h/d",
            "postgres://u:a\thunter2@h/d",
        ] {
            assert!(!parse(text).unwrap_err().contains("hunter2"), "{text}");
        }
    }
}
