//! The grid that places are kept in: 26 bits of longitude and 26 of latitude, one after another, are a score.
//!
//! ```text
//! score : longitude bit 25 | latitude bit 25 | … | longitude bit 0 | latitude bit 0
//! ```
//!
//! Latitudes end where the map of the web does (EPSG:900913). Every operation is done in the order in which Redis does
//! it, so that the numbers agree to the last digit.

/// Bits of each coordinate in a score.
pub const STEPS: u32 = 26;

const LONGITUDES: (f64, f64) = (-180.0, 180.0);
const LATITUDES: (f64, f64) = (-85.051_128_78, 85.051_128_78);

/// Latitudes of the geohash that others use.
const ALL_LATITUDES: (f64, f64) = (-90.0, 90.0);

const EARTH_RADIUS_M: f64 = 6_372_797.560_856;

/// Half of the map's width.
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// The letters of a geohash.
const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// Letters of a geohash; the last one would need three more bits, and is always the first letter.
const LETTERS: usize = 11;

fn radians(degrees: f64) -> f64 {
    degrees * (std::f64::consts::PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (std::f64::consts::PI / 180.0)
}

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub longitude: f64,
    pub latitude: f64,
}

impl Place {
    /// A place that can be kept.
    pub fn new(longitude: f64, latitude: f64) -> Option<Place> {
        let fits = (LONGITUDES.0..=LONGITUDES.1).contains(&longitude)
            && (LATITUDES.0..=LATITUDES.1).contains(&latitude);
        fits.then_some(Place { longitude, latitude })
    }

    /// The place that a score stands for.
    pub fn of_score(score: f64) -> Place {
        // Scores that are none wrap as they do in C on this processor.
        let bits = if score < 0.0 { score as i64 as u64 } else { score as u64 };
        let area = Cell { bits, steps: STEPS }.area();
        let middle = |(min, max): (f64, f64), ends: (f64, f64)| ((min + max) / 2.0).clamp(ends.0, ends.1);
        Place { longitude: middle(area.longitude, LONGITUDES), latitude: middle(area.latitude, LATITUDES) }
    }

    /// The score that stands for the place.
    pub fn score(self) -> f64 {
        Cell::around(self, STEPS, LATITUDES).bits as f64
    }

    /// As the letters that others use.
    pub fn geohash(self) -> [u8; LETTERS] {
        let bits = Cell::around(self, STEPS, ALL_LATITUDES).bits;
        let mut text = [ALPHABET[0]; LETTERS];
        for (index, letter) in text.iter_mut().enumerate().take(LETTERS - 1) {
            *letter = ALPHABET[(bits >> (52 - (index + 1) * 5)) as usize & 31];
        }
        text
    }

    /// Metres to another place, along the sphere (haversine).
    pub fn distance(self, to: Place) -> f64 {
        let v = ((radians(to.longitude) - radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance(self.latitude, to.latitude);
        }
        let (from_latitude, to_latitude) = (radians(self.latitude), radians(to.latitude));
        let u = ((to_latitude - from_latitude) / 2.0).sin();
        let a = u * u + from_latitude.cos() * to_latitude.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

/// Metres between two latitudes.
fn latitude_distance(from: f64, to: f64) -> f64 {
    EARTH_RADIUS_M * (radians(to) - radians(from)).abs()
}

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Up to so many metres from the middle.
    Circle { radius: f64 },
    /// So many metres wide and high around the middle.
    Box { width: f64, height: f64 },
}

/// A shape around a place; lengths in a unit of so many metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub middle: Place,
    pub shape: Shape,
    pub unit: f64,
}

impl Area {
    /// The distance of a place from the middle in metres, if it is in the area.
    pub fn distance(&self, place: Place) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => {
                Some(self.middle.distance(place)).filter(|distance| *distance <= radius * self.unit)
            }
            Shape::Box { width, height } => {
                let (width, height) = (width * self.unit, height * self.unit);
                if latitude_distance(place.latitude, self.middle.latitude) > height / 2.0 {
                    return None;
                }
                let beside = Place { longitude: self.middle.longitude, latitude: place.latitude };
                if place.distance(beside) > width / 2.0 {
                    return None;
                }
                Some(self.middle.distance(place))
            }
        }
    }

    /// The lowest and highest longitude, and latitude, that the area reaches.
    fn bounds(&self) -> Extent {
        let (width, height) = match self.shape {
            Shape::Circle { radius } => (self.unit * radius, self.unit * radius),
            Shape::Box { width, height } => (self.unit * (width / 2.0), self.unit * (height / 2.0)),
        };
        let Place { longitude, latitude } = self.middle;
        let up = degrees(height / EARTH_RADIUS_M);
        // The edge that is nearer to a pole spans more degrees.
        let edge = if latitude < 0.0 { latitude - up } else { latitude + up };
        let aside = degrees(width / EARTH_RADIUS_M / radians(edge).cos());
        Extent { longitude: (longitude - aside, longitude + aside), latitude: (latitude - up, latitude + up) }
    }

    /// Bits of each coordinate of cells that are as large as the area.
    fn steps(&self) -> u32 {
        let mut reach = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        } * self.unit;
        if reach == 0.0 {
            return STEPS;
        }
        let mut steps = 1i32;
        while reach < MERCATOR_MAX_M {
            reach *= 2.0;
            steps += 1;
        }
        // So that the area is covered nearly always; near the poles cells are narrow.
        steps -= 2;
        let latitude = self.middle.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS as i32) as u32
    }

    /// Ranges of scores (the first, and the one behind the last) of the cells that the area may reach into, in the
    /// order in which Redis looks at them.
    pub fn ranges(&self) -> Vec<(f64, f64)> {
        let bounds = self.bounds();
        let mut cell = Cell::around(self.middle, self.steps(), LATITUDES);
        let beyond = |cell: Cell| {
            cell.moved(0, 1).area().latitude.1 < bounds.latitude.1
                || cell.moved(0, -1).area().latitude.0 > bounds.latitude.0
                || cell.moved(1, 0).area().longitude.1 < bounds.longitude.1
                || cell.moved(-1, 0).area().longitude.0 > bounds.longitude.0
        };
        if cell.steps > 1 && beyond(cell) {
            cell = Cell::around(self.middle, cell.steps - 1, LATITUDES);
        }
        let here = cell.area();
        // Big cells are all looked at: they may be on both sides.
        let fine = cell.steps >= 2;
        let skip = |x: i32, y: i32| {
            fine && ((y < 0 && here.latitude.0 < bounds.latitude.0)
                || (y > 0 && here.latitude.1 > bounds.latitude.1)
                || (x < 0 && here.longitude.0 < bounds.longitude.0)
                || (x > 0 && here.longitude.1 > bounds.longitude.1))
        };
        let around = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut cells: Vec<Cell> = Vec::with_capacity(around.len());
        for (index, (x, y)) in around.into_iter().enumerate() {
            let next = cell.moved(x, y);
            // Where cells are large a neighbour on one side is that of the other.
            let again = cells.len() > 1 && cells.last() == Some(&next);
            if index == 0 || !(skip(x, y) || again) {
                cells.push(next);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }
}

/// The ends of a cell or an area in degrees.
#[derive(Clone, Copy, Debug)]
struct Extent {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

/// A cell of the grid with so many bits of each coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    steps: u32,
}

/// Every second bit, from the lowest on, is one of `n`.
fn spread(n: u32) -> u64 {
    (0..32).fold(0, |bits, at| bits | (u64::from(n) >> at & 1) << (2 * at))
}

/// Every second bit, from the lowest on.
fn gather(bits: u64) -> u32 {
    (0..32).fold(0, |n, at| n | ((bits >> (2 * at) & 1) as u32) << at)
}

impl Cell {
    fn around(place: Place, steps: u32, latitudes: (f64, f64)) -> Cell {
        let offset =
            |at: f64, (min, max): (f64, f64)| ((at - min) / (max - min) * (1u64 << steps) as f64) as u32;
        let (x, y) = (offset(place.longitude, LONGITUDES), offset(place.latitude, latitudes));
        Cell { bits: spread(y) | spread(x) << 1, steps }
    }

    fn area(self) -> Extent {
        let count = (1u64 << self.steps) as f64;
        let ends = |n: u32, (min, max): (f64, f64)| {
            let at = |n: f64| min + (n / count) * (max - min);
            (at(f64::from(n)), at(f64::from(n.wrapping_add(1))))
        };
        Extent {
            longitude: ends(gather(self.bits >> 1), LONGITUDES),
            latitude: ends(gather(self.bits), LATITUDES),
        }
    }

    /// The cell so many to the east and to the north; behind the last one comes the first.
    fn moved(self, x: i32, y: i32) -> Cell {
        let mask = ((1u64 << self.steps) - 1) as u32;
        // The very end of the map lies behind the last cell, and stays there.
        let step = |n: u32, by: i32| if by == 0 { n } else { n.wrapping_add_signed(by) & mask };
        let bits = spread(step(gather(self.bits), y)) | spread(step(gather(self.bits >> 1), x)) << 1;
        Cell { bits, steps: self.steps }
    }

    fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS - self.steps);
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_nearly() {
        let palermo = Place::new(13.361389, 38.115556).unwrap_or(Place { longitude: 0.0, latitude: 0.0 });
        assert_eq!(palermo.score(), 3_479_099_956_230_698.0);
        assert_eq!(&palermo.geohash(), b"sqc8b49rny0");
        let back = Place::of_score(palermo.score());
        assert!((back.longitude - palermo.longitude).abs() < 1e-5);
        assert_eq!(back.score(), palermo.score());
        assert_eq!(Place::new(181.0, 0.0), None);
        assert_eq!(Place::new(0.0, 86.0), None);
    }

    #[test]
    fn cells_have_neighbours_on_all_sides() {
        let cell = Cell { bits: spread(0) | spread(3) << 1, steps: 2 };
        assert_eq!(cell.moved(1, -1), Cell { bits: spread(3), steps: 2 });
        assert_eq!(cell.moved(1, -1).moved(-1, 1), cell);
        assert_eq!(gather(spread(0xdead_beef)), 0xdead_beef);
    }
}
