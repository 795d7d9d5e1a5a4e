//! `hone bench gate`: what the gate says of simulated nights, of which the truth is known, by the settings of `[promotion]`.

use hone_config::PromotionSettings;
use hone_eval::simulate::{self, Told, Truth};
use serde::Serialize;

use crate::cli::GateLoad;
use crate::context::{CommandResult, Context};
use crate::output::Table;

/// Corrections of a night with nothing to learn.
const NOTHING: usize = 30;
/// Nights of each kind, for one year of nothing.
const NIGHTS: usize = 10;

#[derive(Serialize)]
struct Figures {
    seed: u64,
    years: usize,
    /// Nights of each kind.
    nights: usize,
    false_promotions_a_year: FalsePromotions,
    gains: Vec<Gain>,
    worse: Vec<Worse>,
}

/// Mean over all years.
#[derive(Serialize)]
struct FalsePromotions {
    rows: usize,
    checkable: f64,
    free_text: f64,
}

#[derive(Serialize)]
struct Gain {
    rows: usize,
    points: f64,
    judged: usize,
    promoted: Told,
}

/// A candidate that is three points worse.
#[derive(Serialize)]
struct Worse {
    rows: usize,
    points: f64,
    /// On corrections and controls.
    everywhere: Told,
    /// On controls alone, and 15 points better on corrections.
    on_controls: Told,
}

pub(super) fn run(context: &Context, load: &GateLoad) -> CommandResult {
    let output = context.output;
    let figures = figures(load, &context.config(Vec::new())?.config.promotion)?;
    if output.is_json() {
        output.value(&figures)?;
        return Ok(());
    }
    let nothing = &figures.false_promotions_a_year;
    output.heading("Promoted in a year of nights with nothing to learn")?;
    let mut table = Table::new(&["answers", ">corrections a night", ">promoted a year"]);
    for (name, mean) in [("checkable", nothing.checkable), ("free text", nothing.free_text)] {
        table.row(&[&name, &nothing.rows, &format!("{mean:.2}")]);
    }
    output.table(&table)?;
    output.heading("Promoted of candidates that are better")?;
    let mut table =
        Table::new(&[">corrections", ">points", ">judged", ">first night", ">after failures"]);
    for gain in &figures.gains {
        let shares = [gain.promoted.first, gain.promoted.late].map(percent);
        let points = format!("{:+.0}", gain.points);
        table.row(&[&gain.rows, &points, &gain.judged, &shares[0], &shares[1]]);
    }
    output.table(&table)?;
    output.heading("Promoted of candidates that are 3 points worse")?;
    let mut table =
        Table::new(&[">corrections", ">everywhere", ">on controls, 15 better on corrections"]);
    for worse in &figures.worse {
        let shares = [worse.everywhere.first, worse.on_controls.first].map(percent);
        table.row(&[&worse.rows, &shares[0], &shares[1]]);
    }
    output.table(&table)?;
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn figures(load: &GateLoad, settings: &PromotionSettings) -> hone_eval::Result<Figures> {
    let nights = NIGHTS * load.years;
    let seed = load.seed;
    let mean = |checkable| -> hone_eval::Result<f64> {
        let mut promoted = 0;
        for year in 0..load.years {
            let seed = seed.wrapping_mul(1000).wrapping_add(year as u64);
            promoted += simulate::false_promotions(settings, NOTHING, checkable, seed)?;
        }
        Ok(promoted as f64 / load.years as f64)
    };
    let told =
        |truth: Truth, folds: &[usize]| simulate::promoted(settings, &truth, folds, nights, seed);
    let mut gains = Vec::new();
    let mut worse = Vec::new();
    for rows in [10, 20, 50, 100, 500] {
        let folds = simulate::judged(rows);
        for points in [5.0, 15.0, 50.0] {
            let truth = Truth::gain(points, rows);
            let promoted = told(truth, &folds)?;
            gains.push(Gain { rows, points, judged: folds.iter().sum(), promoted });
        }
        worse.push(Worse {
            rows,
            points: -3.0,
            everywhere: told(Truth::worse(3.0, rows), &folds)?,
            on_controls: told(Truth::paid_for(15.0, 3.0, rows), &folds)?,
        });
    }
    let false_promotions_a_year =
        FalsePromotions { rows: NOTHING, checkable: mean(true)?, free_text: mean(false)? };
    Ok(Figures { seed, years: load.years, nights, false_promotions_a_year, gains, worse })
}
