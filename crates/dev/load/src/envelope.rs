//! What sealing and opening an envelope costs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Args;
use model::{Actor, ServiceName};
use vault::{Kek, Place, open, seal};

use crate::Failure;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Bytes of the plaintext.
    #[arg(long, default_value_t = 1024)]
    size: usize,
}

/// Long enough for the clock and for the processor to settle.
const LENGTH: Duration = Duration::from_secs(1);
/// Between two looks at the clock.
const BATCH: u32 = 100;

#[allow(clippy::print_stdout, reason = "the figure is what is asked for")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let kek = Kek::from_bytes([7; 32]);
    let actor = Actor::from_oidc("https://id.example", "load")?;
    let service: ServiceName = "load".parse()?;
    let place = Place {
        operator: &actor,
        actor: &actor,
        service: &service,
    };
    let plaintext = vec![b'k'; arguments.size];
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < LENGTH {
        for _ in 0..BATCH {
            let sealed = seal(&kek, &place, 1, 1, black_box(&plaintext))?;
            black_box(open(&kek, &place, black_box(&sealed))?);
        }
        count += BATCH;
    }
    let microseconds = begun.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    println!("{}", serde_json::json!({ "microseconds": microseconds }));
    Ok(())
}
