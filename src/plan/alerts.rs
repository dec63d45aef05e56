//! What a pool tells of by itself: its forecast, and the conditions of `spec.alerts`.
//!
//! None of them flaps: utilisation must fall five points below its bound, a forecast must move by an eighth of the time that is
//! left, and a prediction ends when the time is a quarter longer than asked for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::pool_status::{bound as whole_of, percent};
use super::reason::{clock, friendly_amount};
use super::{meta_time, timestamp};
use crate::api::alerts::Forecast;
use crate::api::conditions::{self, Wanted};
use crate::api::reasons::Reason;
use crate::model::report::PoolReport;
use crate::model::resources::ResourceTable;
use crate::model::spec::Alerts;
use crate::model::time::{Span, Time};
use crate::observe::catalog::Pool;

/// Points below `utilizationPercent` at which the pressure ends.
const POINTS_BELOW: i32 = 5;
/// Forecasts are given to that long.
const GRAIN: Span = Span::minutes(10);

/// The forecast as it shall be shown; what was shown last stays where the new one is about the same.
pub fn forecast(report: &PoolReport, last: &[Forecast], table: &ResourceTable, now: Time) -> Vec<Forecast> {
    let shown = report.forecast.iter().map(|(resource, at)| {
        let name = table.name(*resource);
        let before = last.iter().find(|one| one.resource == name);
        let before = before.map(|one| Time(one.exhausted_at.0.as_millisecond()));
        let same = |before: &Time| {
            let apart = (before.0.saturating_sub(at.0)).abs();
            apart <= GRAIN.0.max((*at - now).0 / 8)
        };
        let rounded = || Time(at.0.saturating_add(GRAIN.0 / 2).div_euclid(GRAIN.0).saturating_mul(GRAIN.0));
        let exhausted_at = meta_time(before.filter(same).unwrap_or_else(rounded));
        Forecast { resource: name.to_owned(), exhausted_at }
    });
    shown.collect()
}

/// When a pool must be looked at again although nothing changes: somebody has then waited for too long.
pub fn due(report: &PoolReport, alerts: &Alerts, now: Time) -> Option<Time> {
    let (_, since) = report.longest_pending.as_ref()?;
    // The bound must be passed.
    let due = *since + alerts.pending_for? + Span(1);
    (due > now).then_some(due)
}

/// Sets the conditions that the pool asks for, and takes others away.
pub fn set(
    conditions: &mut Vec<Condition>,
    report: &PoolReport,
    known: &Pool,
    forecast: &[Forecast],
    table: &ResourceTable,
    now: Time,
) {
    let alerts = &known.spec.alerts;
    let Alerts { utilization_percent, pending_for, exhaustion_within } = alerts;
    let mut put = |kind: &str, (status, reason, message): (bool, Reason, String)| {
        let wanted = Wanted {
            kind,
            status: Some(status),
            reason,
            message: &message,
            observed_generation: Some(known.generation),
        };
        conditions::set(conditions, &wanted, timestamp(now));
    };
    let last = &known.status.conditions;
    if utilization_percent.is_some() || pending_for.is_some() {
        put(conditions::CAPACITY_PRESSURE, pressure(report, alerts, last, table, now));
    }
    if let Some(within) = exhaustion_within {
        put(conditions::EXHAUSTION_PREDICTED, exhaustion(report, *within, last, forecast, table, now));
    }
    if utilization_percent.is_none() && pending_for.is_none() {
        conditions::remove(conditions, conditions::CAPACITY_PRESSURE);
    }
    if exhaustion_within.is_none() {
        conditions::remove(conditions, conditions::EXHAUSTION_PREDICTED);
    }
}

fn pressure(
    report: &PoolReport,
    alerts: &Alerts,
    last: &[Condition],
    table: &ResourceTable,
    now: Time,
) -> (bool, Reason, String) {
    let before = last.iter().find(|one| one.type_ == conditions::CAPACITY_PRESSURE && one.status == "True");
    let full = alerts.utilization_percent.map(|bound| full(report, bound, before, table)).unwrap_or_default();
    let waits = alerts.pending_for.and_then(|bound| {
        let (who, since) = report.longest_pending.as_ref().filter(|(_, since)| now - *since > bound)?;
        Some(format!("{who} waits since {}, for more than alerts.pendingFor={}", clock(*since), shown(bound)))
    });
    let reason = if full.is_empty() { Reason::PendingTooLong } else { Reason::UtilizationHigh };
    let all: Vec<String> = full.into_iter().chain(waits).collect();
    if all.is_empty() {
        let bounds = alerts
            .utilization_percent
            .map(|bound| format!("of no resource alerts.utilizationPercent={bound} percent are allocated"));
        let pending = alerts
            .pending_for
            .map(|bound| format!("nobody waits for more than alerts.pendingFor={}", shown(bound)));
        let message = bounds.into_iter().chain(pending).collect::<Vec<_>>().join("; ");
        return (false, Reason::NoPressure, message);
    }
    let since = before.map_or(now, |before| Time(before.last_transition_time.0.as_millisecond()));
    (true, reason, format!("since {}: {}", clock(since), all.join("; ")))
}

/// The resources of which too much is allocated; one that was told of is told of until it is well below.
fn full(report: &PoolReport, bound: i32, before: Option<&Condition>, table: &ResourceTable) -> Vec<String> {
    let each = report.resources.iter().filter_map(|one| {
        let (used, whole) = (one.allocated, whole_of(one));
        let (name, percent) = (table.name(one.resource), percent(used, whole));
        let told = before.is_some_and(|before| {
            before.message.contains(&format!(": {name}: ")) || before.message.contains(&format!("; {name}: "))
        });
        let least = if told { bound - POINTS_BELOW.min(bound / 2) } else { bound };
        (percent >= least).then(|| {
            format!(
                "{name}: {} of {} are allocated, {percent} percent (alerts.utilizationPercent={bound})",
                friendly_amount(name, used),
                friendly_amount(name, whole)
            )
        })
    });
    each.collect()
}

fn exhaustion(
    report: &PoolReport,
    within: Span,
    last: &[Condition],
    forecast: &[Forecast],
    table: &ResourceTable,
    now: Time,
) -> (bool, Reason, String) {
    let told = conditions::is_true(last, conditions::EXHAUSTION_PREDICTED);
    let bound = if told { Span(within.0.saturating_add(within.0 / 4)) } else { within };
    let soon = forecast.iter().filter_map(|one| {
        let at = Time(one.exhausted_at.0.as_millisecond());
        let of = report.resources.iter().find(|of| table.name(of.resource) == one.resource)?;
        (at - now <= bound).then(|| {
            format!(
                "{}: {} of {} are allocated, and by the trend of the last hours nothing is left at {}",
                one.resource,
                friendly_amount(&one.resource, of.allocated),
                friendly_amount(&one.resource, whole_of(of)),
                clock(at)
            )
        })
    });
    let soon: Vec<String> = soon.collect();
    if soon.is_empty() {
        let message =
            format!("by the trend no resource is used up within alerts.exhaustionWithin={}", shown(within));
        return (false, Reason::NoTrendToLimit, message);
    }
    (true, Reason::TrendReachesLimit, soon.join("; "))
}

fn shown(span: Span) -> crate::api::Duration {
    crate::api::Duration::from_millis(span.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::amount::Amount;
    use crate::model::report::PoolResource;
    use crate::model::resources::ResourceId;

    fn at(minutes: i64) -> Time {
        Time(Span::minutes(minutes).0)
    }

    fn report(allocated: i64, forecast: Option<Time>) -> PoolReport {
        PoolReport {
            resources: vec![PoolResource {
                resource: ResourceId::CPU,
                capacity: Amount::new(100_000),
                unmanaged: Amount::ZERO,
                reservation: Amount::ZERO,
                limit: crate::model::amount::Limit::At(Amount::new(100_000)),
                allocated: Amount::new(allocated * 1000),
                adopted: Amount::ZERO,
                borrowed: Amount::ZERO,
                lent: Amount::ZERO,
                idle: Amount::ZERO,
                available: Amount::ZERO,
                pending: Amount::ZERO,
                largest_free: None,
            }],
            forecast: forecast.map(|at| (ResourceId::CPU, at)).into_iter().collect(),
            ..PoolReport::default()
        }
    }

    #[test]
    fn pressure_ends_five_points_below_where_it_began() {
        let table = ResourceTable::default();
        let alerts = Alerts { utilization_percent: Some(90), ..Alerts::default() };
        let mut list = Vec::new();
        let mut seen = Vec::new();
        for (minute, allocated) in [(0, 89), (1, 90), (2, 88), (3, 85), (4, 84), (5, 88), (6, 95)] {
            let (status, reason, message) =
                pressure(&report(allocated, None), &alerts, &list, &table, at(minute));
            let kind = conditions::CAPACITY_PRESSURE;
            let wanted =
                Wanted { kind, status: Some(status), reason, message: &message, observed_generation: None };
            conditions::set(&mut list, &wanted, timestamp(at(minute)));
            seen.push(status);
            if minute == 3 {
                let expected = "since 1970-01-01T00:01:00Z: cpu: 85 of 100 are allocated, 85 percent (alerts.utilizationPercent=90)";
                assert_eq!(message, expected);
            }
        }
        assert_eq!(seen, [false, true, true, true, false, false, true]);
    }

    #[test]
    fn a_forecast_that_hardly_moves_stays_as_it_was_written() {
        let table = ResourceTable::default();
        let shown = |last: &[Forecast], forecast: Time, now: Time| {
            super::forecast(&report(50, Some(forecast)), last, &table, now)
        };
        let minutes = |all: &[Forecast]| all[0].exhausted_at.0.as_second() / 60;
        let first = shown(&[], at(603), at(0));
        assert_eq!(minutes(&first), 600, "to ten minutes");
        assert_eq!(minutes(&shown(&first, at(660), at(0))), 600, "an hour is less than an eighth of eleven");
        assert_eq!(minutes(&shown(&first, at(690), at(0))), 690, "ninety minutes are more");
        assert_eq!(minutes(&shown(&first, at(590), at(585))), 600, "ten minutes always stay");
        assert_eq!(minutes(&shown(&first, at(588), at(585))), 590, "twelve do not");
    }

    #[test]
    fn a_prediction_ends_when_there_is_a_quarter_more_time() {
        let table = ResourceTable::default();
        let told = |last: &[Condition], exhausted: i64| {
            let report = report(50, Some(at(exhausted)));
            let forecast = forecast(&report, &[], &table, at(0));
            exhaustion(&report, Span::minutes(60), last, &forecast, &table, at(0))
        };
        let (status, reason, message) = told(&[], 60);
        assert_eq!((status, reason), (true, Reason::TrendReachesLimit));
        let expected = "cpu: 50 of 100 are allocated, and by the trend of the last hours nothing is left at 1970-01-01T01:00:00Z";
        assert_eq!(message, expected);
        assert!(!told(&[], 70).0);
        let mut list = Vec::new();
        let kind = conditions::EXHAUSTION_PREDICTED;
        let wanted =
            Wanted { kind, status: Some(true), reason, message: &message, observed_generation: None };
        conditions::set(&mut list, &wanted, timestamp(at(0)));
        assert!(told(&list, 70).0, "it was told, and 70 minutes are within 75");
        assert!(!told(&list, 90).0);
    }
}
