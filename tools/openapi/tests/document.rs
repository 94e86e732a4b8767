//! The document that is kept is the one that the code makes. That each worker's operations are its routes is held by its own tests.

use rs1_tool_openapi::{PATH, operations, text};
use rs1_worker_device_api::routes::ROUTES;

#[test]
fn the_document_that_is_kept_is_what_the_code_says() {
    let made = text().unwrap();
    let kept = std::fs::read_to_string(PATH).unwrap_or_default();
    let differing = made.lines().zip(kept.lines()).position(|(made, kept)| made != kept);
    assert!(made == kept, "run `npm run openapi` and look at what changes, from line {differing:?} on");
}

#[test]
fn what_the_device_api_passes_on_is_described_by_who_answers_it() {
    let described: Vec<_> = operations().iter().map(|operation| (operation.path, operation.method)).collect();
    for route in ROUTES {
        assert!(described.contains(&(route.pattern, route.method)), "{:?} {}", route.method, route.pattern);
    }
}
