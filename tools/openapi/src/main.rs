//! `npm run openapi`: writes the document where it is kept.

use anyhow::{Context, Result};
use rs1_tool_openapi::{PATH, operations, text};

fn main() -> Result<()> {
    std::fs::write(PATH, text()?).with_context(|| format!("writing {PATH}"))?;
    println!("{} operations are described in workers/device-api/assets/api/openapi.json", operations().len());
    Ok(())
}
