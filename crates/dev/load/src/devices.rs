//! Device keys of the load's clients: PKCS#8, one file each.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use vault::{DeviceKey, SignEs256};

use crate::Failure;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Where the keys go.
    #[arg(long)]
    folder: PathBuf,
    /// How many.
    #[arg(long, default_value_t = 16)]
    count: usize,
}

#[allow(clippy::print_stdout, reason = "the numbers are what is asked for")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    fs::create_dir_all(&arguments.folder)?;
    for number in 0..arguments.count {
        let der = DeviceKey::generate_pkcs8().ok_or("no key can be made")?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options
            .open(path(&arguments.folder, number))?
            .write_all(&der)?;
        let key = DeviceKey::from_pkcs8(&der)?;
        println!("{}", key.public_jwk().thumbprint());
    }
    Ok(())
}

/// The keys of a folder, in order.
pub(crate) fn read(folder: &Path, count: usize) -> Result<Vec<DeviceKey>, Failure> {
    let one = |number| Ok(DeviceKey::from_pkcs8(&fs::read(path(folder, number))?)?);
    (0..count).map(one).collect()
}

fn path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("device-{number}.der"))
}
