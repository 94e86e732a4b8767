//! Which polygons a device can use: simple ones, whose edges meet in the vertices they share and
//! nowhere else. Exact: everything is a comparison of integers below 2^31.

use std::cmp::Ordering;

use crate::Point;

/// What is wrong with a polygon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A vertex is where the one before it is; for the last vertex also: where the first is.
    Repeated {
        /// The vertex.
        vertex: usize,
        /// The neighbour that it repeats.
        of: usize,
    },
    /// All vertices lie on one line, so there is no area.
    Flat,
    /// The edge that begins at a vertex crosses, touches or overlaps others.
    Meets {
        /// Where the edge begins.
        edge: usize,
        /// Where the others begin, each before `edge`.
        others: Vec<usize>,
    },
}

/// Every flaw of a polygon; none for one that a device can use.
///
/// Repeated vertices are looked at once and left out of the rest, so that one slip of a finger is
/// not reported as a dozen crossings.
pub fn flaws(polygon: &[Point]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut corners: Vec<(usize, Point)> = Vec::with_capacity(polygon.len());
    for (vertex, point) in polygon.iter().enumerate() {
        match corners.last() {
            Some((of, last)) if last == point => flaws.push(Flaw::Repeated { vertex, of: *of }),
            _ => corners.push((vertex, *point)),
        }
    }
    if let (Some((first, start)), Some((vertex, end))) = (corners.first().copied(), corners.last().copied())
        && corners.len() > 1
        && start == end
    {
        flaws.push(Flaw::Repeated { vertex, of: first });
        corners.pop();
    }
    if is_flat(&corners) {
        flaws.push(Flaw::Flat);
        return flaws;
    }
    flaws.extend(crossings(&corners));
    flaws
}

/// Whether all corners lie on one line, or there are too few of them to do otherwise.
fn is_flat(corners: &[(usize, Point)]) -> bool {
    let [(_, first), (_, second), rest @ ..] = corners else { return true };
    rest.iter().all(|(_, point)| side(*first, *second, *point) == Ordering::Equal)
}

/// An edge of a polygon whose neighbouring corners are distinct.
#[derive(Clone, Copy)]
struct Edge {
    /// Its place around the polygon.
    place: usize,
    /// The vertex it begins at, as the polygon counts them.
    vertex: usize,
    from: Point,
    to: Point,
}

fn crossings(corners: &[(usize, Point)]) -> Vec<Flaw> {
    let ends = corners.iter().cycle().skip(1);
    let edges: Vec<_> = corners
        .iter()
        .zip(ends)
        .enumerate()
        .map(|(place, ((vertex, from), (_, to)))| Edge { place, vertex: *vertex, from: *from, to: *to })
        .collect();
    let last = edges.len().saturating_sub(1);
    edges
        .iter()
        .filter_map(|edge| {
            let earlier = edges.iter().take(edge.place);
            let others: Vec<_> =
                earlier.filter(|other| meet(other, edge, last)).map(|other| other.vertex).collect();
            (!others.is_empty()).then_some(Flaw::Meets { edge: edge.vertex, others })
        })
        .collect()
}

/// Whether two edges, `a` before `b`, meet where they may not.
fn meet(a: &Edge, b: &Edge, last: usize) -> bool {
    if a.place.saturating_add(1) == b.place {
        return folds_back(a.from, a.to, b.to);
    }
    if a.place == 0 && b.place == last {
        return folds_back(b.from, b.to, a.to);
    }
    segments_meet((a.from, a.to), (b.from, b.to))
}

/// Whether the way from `corner` on goes back over the way that led there.
fn folds_back(from: Point, corner: Point, to: Point) -> bool {
    side(from, corner, to) == Ordering::Equal && ahead(from, corner, to) == Ordering::Less
}

/// Whether two segments have a point in common, ends included.
fn segments_meet(a: (Point, Point), b: (Point, Point)) -> bool {
    let (a_from, a_to) = (side(b.0, b.1, a.0), side(b.0, b.1, a.1));
    let (b_from, b_to) = (side(a.0, a.1, b.0), side(a.0, a.1, b.1));
    let on_line = |side: Ordering| side == Ordering::Equal;
    if !on_line(a_from) && !on_line(a_to) && !on_line(b_from) && !on_line(b_to) {
        return a_from != a_to && b_from != b_to;
    }
    (on_line(a_from) && between(b, a.0))
        || (on_line(a_to) && between(b, a.1))
        || (on_line(b_from) && between(a, b.0))
        || (on_line(b_to) && between(a, b.1))
}

/// Whether a point on the segment's line is on the segment.
fn between((from, to): (Point, Point), point: Point) -> bool {
    let within = |a: i16, b: i16, value: i16| a.min(b) <= value && value <= a.max(b);
    within(from.x, to.x, point.x) && within(from.y, to.y, point.y)
}

/// On which side of the line from `a` to `b` a point is: the sign of the cross product.
fn side(a: Point, b: Point, point: Point) -> Ordering {
    let ((abx, aby), (apx, apy)) = (difference(a, b), difference(a, point));
    abx.saturating_mul(apy).cmp(&aby.saturating_mul(apx))
}

/// Whether going on from `corner` to `to` leads further away from `from`: the sign of the dot product.
fn ahead(from: Point, corner: Point, to: Point) -> Ordering {
    let ((ax, ay), (bx, by)) = (difference(from, corner), difference(corner, to));
    ax.saturating_mul(bx).saturating_add(ay.saturating_mul(by)).cmp(&0)
}

/// Coordinates are at most 6,000 apart from 0, so differences fit 15 bits and products 29: nothing
/// that follows can saturate.
fn difference(a: Point, b: Point) -> (i64, i64) {
    (b.x().saturating_sub(a.x()), b.y().saturating_sub(a.y()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn polygon(points: &[(i64, i64)]) -> Vec<Point> {
        points.iter().map(|(x, y)| Point::new(*x, *y).unwrap()).collect()
    }

    fn flaws_of(points: &[(i64, i64)]) -> Vec<Flaw> {
        flaws(&polygon(points))
    }

    #[test]
    fn simple_polygons_have_no_flaw() {
        for points in [
            &[(0, 0), (1000, 0), (0, 1000)][..],
            &[(0, 1000), (1000, 0), (0, 0)],
            &[(-6000, 0), (6000, 0), (6000, 6000), (-6000, 6000)],
            // A vertex in the middle of a side turns nowhere, which is no flaw.
            &[(0, 0), (500, 0), (1000, 0), (1000, 1000), (0, 1000)],
            // Concave, with vertices that come close to other edges.
            &[(0, 0), (10, 0), (10, 10), (5, 1), (0, 10)],
            &[(0, 0), (4, 0), (4, 4), (3, 4), (3, 1), (1, 1), (1, 4), (0, 4)],
        ] {
            assert_eq!(flaws_of(points), [], "{points:?}");
        }
    }

    #[test]
    fn repeated_vertices_are_named_and_nothing_else_for_their_sake() {
        assert_eq!(flaws_of(&[(0, 0), (0, 0), (9, 0), (0, 9)]), [Flaw::Repeated { vertex: 1, of: 0 }]);
        assert_eq!(flaws_of(&[(0, 0), (9, 0), (0, 9), (0, 0)]), [Flaw::Repeated { vertex: 3, of: 0 }]);
        assert_eq!(
            flaws_of(&[(0, 0), (9, 0), (9, 0), (9, 0), (0, 9)]),
            [Flaw::Repeated { vertex: 2, of: 1 }, Flaw::Repeated { vertex: 3, of: 1 }]
        );
    }

    #[test]
    fn what_has_no_area_is_flat() {
        for points in [
            &[(0, 0), (5, 5), (9, 9)][..],
            &[(0, 0), (9, 9), (5, 5)],
            &[(0, 0), (9, 0), (3, 0), (6, 0), (1, 0)],
        ] {
            assert_eq!(flaws_of(points), [Flaw::Flat], "{points:?}");
        }
        assert_eq!(
            flaws_of(&[(0, 0), (9, 0), (0, 0)]),
            [Flaw::Repeated { vertex: 2, of: 0 }, Flaw::Flat],
            "two corners"
        );
        assert_eq!(flaws_of(&[(3, 3); 3]).last(), Some(&Flaw::Flat), "one corner");
    }

    #[test]
    fn edges_that_cross_touch_or_overlap_are_named() {
        let meets = |edge, others: &[usize]| vec![Flaw::Meets { edge, others: others.to_vec() }];
        for (points, expected) in [
            // A bow tie.
            (&[(0, 0), (9, 9), (9, 0), (0, 9)][..], meets(2, &[0])),
            // A vertex on another edge.
            (
                &[(0, 0), (10, 0), (10, 10), (5, 0), (0, 10)],
                vec![Flaw::Meets { edge: 2, others: vec![0] }, Flaw::Meets { edge: 3, others: vec![0] }],
            ),
            // A vertex on a vertex that is not its neighbour.
            (
                &[(0, 0), (5, 5), (10, 0), (10, 10), (5, 5), (0, 10)],
                vec![
                    Flaw::Meets { edge: 3, others: vec![0, 1] },
                    Flaw::Meets { edge: 4, others: vec![0, 1] },
                ],
            ),
            // A spike: the way back is the way there.
            (
                &[(0, 0), (10, 0), (10, 10), (10, 5), (0, 5)],
                vec![Flaw::Meets { edge: 2, others: vec![1] }, Flaw::Meets { edge: 3, others: vec![1] }],
            ),
            // The spike at the seam between the last edge and the first.
            (
                &[(10, 5), (10, 10), (0, 10), (0, 0), (10, 0), (10, 7)],
                vec![Flaw::Meets { edge: 4, others: vec![0] }, Flaw::Meets { edge: 5, others: vec![0, 4] }],
            ),
            // Two edges on one line that share a piece of it.
            (
                &[(0, 0), (10, 0), (10, 5), (8, 0), (2, 0), (0, 5)],
                vec![
                    Flaw::Meets { edge: 2, others: vec![0] },
                    Flaw::Meets { edge: 3, others: vec![0] },
                    Flaw::Meets { edge: 4, others: vec![0] },
                ],
            ),
        ] {
            assert_eq!(flaws_of(points), expected, "{points:?}");
        }
    }

    /// The reference: intersections computed as fractions, by solving for them. Another way to the
    /// same truth: no sides, no special cases for ends, and nothing shared with the code above.
    mod reference {
        /// What two closed segments have in common.
        #[derive(Debug, PartialEq, Eq)]
        pub enum Common {
            Nothing,
            /// Exactly one point: x, y and their denominator.
            Point(i128, i128, i128),
            More,
        }

        type Pair = (i128, i128);

        pub fn common((p, p2): (Pair, Pair), (q, q2): (Pair, Pair)) -> Common {
            let (r, s) = ((p2.0 - p.0, p2.1 - p.1), (q2.0 - q.0, q2.1 - q.1));
            let (gap, determinant) = ((q.0 - p.0, q.1 - p.1), r.0 * s.1 - r.1 * s.0);
            if determinant != 0 {
                // p + along_r·r = q + along_s·s by Cramer's rule, over a positive denominator.
                let sign = determinant.signum();
                let along_r = sign * (gap.0 * s.1 - gap.1 * s.0);
                let along_s = sign * (gap.0 * r.1 - gap.1 * r.0);
                let below = determinant.abs();
                if !(0..=below).contains(&along_r) || !(0..=below).contains(&along_s) {
                    return Common::Nothing;
                }
                return Common::Point(p.0 * below + along_r * r.0, p.1 * below + along_r * r.1, below);
            }
            if gap.0 * r.1 != gap.1 * r.0 {
                return Common::Nothing;
            }
            // One line: what do the intervals share, in units of r from p?
            let along = |point: Pair| (point.0 - p.0) * r.0 + (point.1 - p.1) * r.1;
            let (low, high) = (along(q).min(along(q2)), along(q).max(along(q2)));
            let (low, high) = (low.max(0), high.min(along(p2)));
            match low.cmp(&high) {
                std::cmp::Ordering::Greater => Common::Nothing,
                std::cmp::Ordering::Less => Common::More,
                std::cmp::Ordering::Equal => {
                    let length = along(p2);
                    Common::Point(p.0 * length + low * r.0, p.1 * length + low * r.1, length)
                }
            }
        }

        /// Whether neighbours share their vertex alone, others nothing, and there is an area.
        pub fn is_simple(points: &[Pair]) -> bool {
            let count = points.len();
            let edge = |index: usize| (points[index % count], points[(index + 1) % count]);
            if (0..count).any(|index| edge(index).0 == edge(index).1) {
                return false;
            }
            let doubled: i128 = (0..count)
                .map(|index| {
                    let (a, b) = edge(index);
                    a.0 * b.1 - b.0 * a.1
                })
                .sum();
            if doubled == 0 {
                return false;
            }
            (0..count).all(|first| {
                (first + 1..count).all(|second| {
                    let found = common(edge(first), edge(second));
                    let shared = match (second == first + 1, (second + 1) % count == first) {
                        (true, _) => Some(edge(first).1),
                        (_, true) => Some(edge(first).0),
                        _ => None,
                    };
                    match (shared, found) {
                        (None, found) => found == Common::Nothing,
                        (Some(at), Common::Point(x, y, below)) => (at.0 * below, at.1 * below) == (x, y),
                        (Some(_), _) => false,
                    }
                })
            })
        }
    }

    /// Few places, so that vertices repeat, touch and line up; and many, as people draw.
    fn polygons() -> impl Strategy<Value = Vec<(i64, i64)>> {
        let tight = prop::collection::vec((0_i64..=3, 0_i64..=3), 3..=8);
        let medium = prop::collection::vec((-12_i64..=12, 0_i64..=12), 3..=6);
        let wide = prop::collection::vec((Point::X, Point::Y), 3..=8);
        prop_oneof![3 => tight, 3 => medium, 2 => wide, 2 => around()]
    }

    /// Vertices in the order of their angles: mostly simple, with many a straight or folded corner.
    fn around() -> impl Strategy<Value = Vec<(i64, i64)>> {
        prop::collection::vec((-4_i64..=4, 0_i64..=8), 3..=8).prop_map(|mut points| {
            points.sort_by(|a, b| {
                let angle = |point: &(i64, i64)| ((point.1 - 4) as f64).atan2(point.0 as f64);
                angle(a).total_cmp(&angle(b))
            });
            points
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn ten_thousand_polygons_are_judged_as_the_reference_judges_them(points in polygons()) {
            let exact: Vec<_> = points.iter().map(|(x, y)| (i128::from(*x), i128::from(*y))).collect();
            prop_assert_eq!(flaws_of(&points).is_empty(), reference::is_simple(&exact));
        }
    }

    proptest! {
        #[test]
        fn where_a_polygon_begins_and_which_way_it_goes_round_does_not_matter(
            points in polygons(), turn in 0_usize..8, back: bool,
        ) {
            let mut other = points.clone();
            other.rotate_left(turn % points.len());
            if back {
                other.reverse();
            }
            prop_assert_eq!(flaws_of(&points).is_empty(), flaws_of(&other).is_empty());
        }

        #[test]
        fn two_edges_meet_if_the_reference_finds_a_common_point(points in prop::collection::vec((0_i64..=4, 0_i64..=4), 4..=4)) {
            let p = polygon(&points);
            prop_assume!(p[0] != p[1] && p[2] != p[3]);
            let exact: Vec<_> = points.iter().map(|(x, y)| (i128::from(*x), i128::from(*y))).collect();
            let found = reference::common((exact[0], exact[1]), (exact[2], exact[3]));
            prop_assert_eq!(segments_meet((p[0], p[1]), (p[2], p[3])), found != reference::Common::Nothing);
        }
    }

    #[test]
    fn the_polygons_tried_are_of_both_kinds() {
        use proptest::strategy::ValueTree;
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let simple = (0..2_000)
            .filter(|_| flaws_of(&polygons().new_tree(&mut runner).unwrap().current()).is_empty())
            .count();
        assert!((200..1_800).contains(&simple), "{simple} of 2,000 are simple");
    }
}
