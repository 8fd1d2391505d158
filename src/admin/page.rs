//! The status page: one HTML file that reads `/status` every two seconds and `/history` every ten.

use axum::http::header;
use axum::response::{Html, IntoResponse};

/// Self-contained: loads nothing from elsewhere. Style and script are put into its two empty elements.
const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page. Its style and script have a nonce that is made for this answer; whatever else came into the page could not run.
pub(super) fn answer() -> impl IntoResponse {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the kernel gave random bytes when the process started");
    let nonce: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let page = PAGE
        .replace("<style>", &format!("<style nonce=\"{nonce}\">{STYLE}"))
        .replace("<script>", &format!("<script nonce=\"{nonce}\">{SCRIPT}"));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, Html(page))
}
