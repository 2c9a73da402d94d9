import Basics
import Foundation
import Photographs
import Randomness
import Synchronization

/// Draws the demo set: ten classes of shapes with textures on cluttered backgrounds.
///
/// Position, size, rotation and all colours are independent of the class. So a linear classifier on pixels
/// fails, while edges and textures are enough for a convolutional network.
public enum Scenes {
    /// The names of the shapes, which are the classes of sets with no more classes than these.
    private static let shapeNames = [
        "striped-disc", "checkered-square", "ring", "star", "cross", "dotted-triangle", "crescent", "clover",
        "arrow", "bullseye", "hollow-square", "hourglass", "spoked-wheel", "striped-diamond",
    ]

    /// The colours of objects in sets with more classes than shapes: each class is a colour and a shape.
    private static let hues: [(name: String, colour: SIMD3<Float>)] = [
        ("red", [0.95, 0.2, 0.2]), ("green", [0.2, 0.85, 0.25]), ("blue", [0.3, 0.4, 0.95]),
        ("yellow", [0.95, 0.9, 0.2]), ("purple", [0.75, 0.3, 0.9]), ("cyan", [0.2, 0.9, 0.9]),
        ("orange", [0.95, 0.6, 0.2]), ("white", [0.95, 0.95, 0.95]),
    ]

    /// The largest number of classes that can be drawn.
    public static let maximumClasses = shapeNames.count * hues.count

    /// Returns the names of a set's classes.
    public static func classNames(_ classes: Int) -> [String] {
        if classes <= shapeNames.count { return Array(shapeNames.prefix(classes)) }
        return (0..<classes).map {
            "\(hues[$0 / shapeNames.count].name)-\(shapeNames[$0 % shapeNames.count])"
        }
    }

    /// Names how large the objects are.
    public enum ObjectScale: String, Sendable, CaseIterable {
        /// Half to three quarters of the picture's side.
        case normal
        /// A quarter to three eighths: what a larger network input is for.
        case small

        fileprivate var radius: ClosedRange<Float> { self == .normal ? 0.25...0.375 : 0.125...0.1875 }
    }

    /// Names what makes a picture of the same scene harder.
    public enum Hardship: String, CaseIterable, Sendable {
        /// Turned by 6 to 26 degrees.
        case turn
        /// Seen through a lens that bends lines.
        case lens
        /// In 0.45 to 0.85 of the light.
        case dim
        /// In light of another colour.
        case colour
        /// In light that falls off to the corners.
        case falloff
    }

    /// Draws picture `index` of class `label`, `size` pixels on each side.
    ///
    /// The picture depends only on the arguments.
    /// - Parameters:
    ///   - classes: the number of the set's classes.
    ///   - hardships: the conditions under which the same scene is seen.
    public static func draw(
        label: Int, classes: Int = 10, index: Int, size: Int, seed: UInt64,
        objectScale: ObjectScale = .normal,
        hardships: Set<Hardship> = []
    ) -> DecodedImage {
        var random = Philox(seed: seed, purpose: .scenes, step: UInt64(index))
        var conditions = Philox(seed: seed, purpose: .scenes, step: UInt64(index), index: 1)
        var canvas = Canvas(
            size: size, conditions: hardships.isEmpty ? nil : Conditions(&conditions, hardships))
        paintBackground(&canvas, &random)
        let shapes = shapeNames.count
        paintObject(
            &canvas, &random, shape: label % shapes,
            hue: classes > shapes ? hues[label / shapes].colour : nil, radii: objectScale.radius)
        return canvas.encoded(&random)
    }

    /// Writes pictures as JPEG files to `path/train/CLASS/` and, one fifth of them, to `path/val/CLASS/`.
    ///
    /// The files are written to another folder beside `path`, which is renamed when it is complete.
    /// - Parameters:
    ///   - path: must not exist, or be an empty folder.
    ///   - size: the side of the square pictures in pixels, 16…4096.
    ///   - classes: 2…112; the set that demos use has ten. Up to 14 are shapes of any colour; with more, each
    ///     is a shape in one of eight colours.
    ///   - validationHardships: the conditions of the pictures in `val`, which training does not see.
    ///   - isStopped: asked before each picture; after true, what was drawn is removed.
    /// - Throws: `DatasetError`, `Stopped`, or `FileError` if the folder cannot be renamed.
    public static func write(
        to path: String, count: Int, size: Int, classes: Int = 10, seed: UInt64,
        objectScale: ObjectScale = .normal, validationHardships: Set<Hardship> = [],
        workers: Int = ProcessInfo.processInfo.activeProcessorCount,
        isStopped: @escaping @Sendable () -> Bool = { false }
    ) throws {
        guard (2...maximumClasses).contains(classes) else {
            throw DatasetError(.badOption, "\(classes) classes: choose 2 to \(maximumClasses)")
        }
        guard (16...4096).contains(size) else {
            throw DatasetError(.badOption, "size \(size): choose 16 to 4096 pixels")
        }
        guard count >= 5 * classes else {
            throw DatasetError(
                .badOption,
                "\(count) pictures of \(classes) classes: choose at least \(5 * classes), so that each class "
                    + "has one for validation")
        }
        let path = path.withoutTrailingSlashes
        let classNames = classNames(classes)
        try requireEmpty(path)
        let target = URL(fileURLWithPath: path)
        let parent = target.deletingLastPathComponent().path
        let prefix = ".\(target.lastPathComponent).partial-"
        let partial = "\(parent)/\(prefix)\(getpid())"
        let manager = FileManager.default
        // Removes what a killed call has left, and keeps what another call is drawing.
        for name in (try? manager.contentsOfDirectory(atPath: parent)) ?? [] where name.hasPrefix(prefix) {
            guard let process = Int32(name.dropFirst(prefix.count)), process > 0, kill(process, 0) != 0,
                errno == ESRCH
            else { continue }
            try? manager.removeItem(atPath: parent + "/" + name)
        }
        do {
            do {
                for folder in classNames.flatMap({ ["train/\($0)", "val/\($0)"] }) {
                    try manager.createDirectory(
                        atPath: "\(partial)/\(folder)", withIntermediateDirectories: true)
                }
            } catch { throw failure("\(path): cannot be made", error) }
            let failed = FirstError()
            runWorkers(workers, count: count) { _, index in
                if isStopped() { failed.error.withLock { $0 = $0 ?? Stopped() } }
                if failed.error.withLock({ $0 != nil }) { return }
                let label = index % classes
                let part = index / classes % 5 == 4 ? "val" : "train"
                let file = "\(part)/\(classNames[label])/\(String(format: "%06d", index)).jpg"
                let picture = draw(
                    label: label, classes: classes, index: index, size: size, seed: seed,
                    objectScale: objectScale,
                    hardships: part == "val" ? validationHardships : [])
                do {
                    let url = URL(fileURLWithPath: "\(partial)/\(file)")
                    try Data(encodeJPEG(picture)).write(to: url)
                } catch {
                    failed.error.withLock { $0 = $0 ?? failure("\(path)/\(file): cannot be written", error) }
                }
            }
            if let error = failed.error.withLock({ $0 }) { throw error }
            guard rename(partial, path) == 0 else { throw FileError.system(path, "putting the set in place") }
        } catch {
            try? manager.removeItem(atPath: partial)
            throw error
        }
    }

    /// Says that `isStopped` has ended the drawing.
    public struct Stopped: Error {}

    private final class FirstError: Sendable { let error = Mutex<(any Error)?>(nil) }

    private static func failure(_ what: String, _ error: any Error) -> DatasetError {
        let reason = error is ImageError ? "\(error)" : error.reason
        return DatasetError(
            .cannotWrite, "\(what): \(reason); make room on this disk or choose another folder")
    }

    private static func requireEmpty(_ path: String) throws {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else { return }
        let entries = isFolder.boolValue ? try? FileManager.default.contentsOfDirectory(atPath: path) : nil
        guard entries?.isEmpty ?? false else {
            throw DatasetError(
                .outputExists,
                "\(path): exists already and is not an empty folder; choose another one or remove it")
        }
    }

    // MARK: drawing

    private static func paintBackground(_ canvas: inout Canvas, _ random: inout Philox) {
        canvas.gradient(from: colour(&random), to: colour(&random), angle: random.uniform(in: 0...(2 * .pi)))
        for _ in 0..<6 + random.integer(below: 7) {
            let centre = SIMD2(random.uniform(), random.uniform())
            let turn = random.uniform(in: 0...(2 * .pi))
            let opacity = random.uniform(in: 0.3...0.8)
            let paint = colour(&random)
            let radius = random.uniform(in: 0.03...0.22)
            let slimness = random.uniform(in: 0.1...1)
            let kind = random.integer(below: 3)
            canvas.paint(centre: centre, reach: radius * 1.5, turn: turn) { point in
                let distance: Float =
                    switch kind {
                    case 0: length(point) - radius * 0.7
                    case 1: max(abs(point.x) - radius, abs(point.y) - radius * slimness)
                    default: max(abs(point.x) - radius * 1.4, abs(point.y) - 0.012)
                    }
                return (distance, paint, opacity)
            }
        }
    }

    private static func paintObject(
        _ canvas: inout Canvas, _ random: inout Philox, shape: Int, hue: SIMD3<Float>?,
        radii: ClosedRange<Float>
    ) {
        let radius = random.uniform(in: radii)
        let middle = radius...(1 - radius)
        let centre = SIMD2(random.uniform(in: middle), random.uniform(in: middle))
        let turn = random.uniform(in: 0...(2 * .pi))
        // Any two hues, but always a light body with dark marks, so that a small network learns the textures
        // within minutes.
        let any = colour(&random)
        let body = withLightness(any, random.uniform(in: 0.65...0.95))
        // A little of any other colour, so that colours of one name differ.
        let first = hue.map { $0 * 0.85 + any * 0.15 } ?? body
        let second = withLightness(colour(&random), random.uniform(in: 0.05...0.25))
        let detail = random.uniform(in: 0.85...1.2)
        let rim = 0.06 * radius
        let pixel = canvas.pixel
        canvas.paint(centre: centre, reach: radius * 1.15, turn: turn) { point in
            let p = point / radius
            var distance: Float
            var secondShare: Float = 0
            let soft = pixel / radius
            switch shape {
            case 0:
                distance = length(p) - 0.95
                secondShare = edge(wave(p.x, period: 0.42 * detail), soft)
            case 1:
                distance = max(abs(p.x), abs(p.y)) - 0.8
                let cells = wave(p.x, period: 0.62 * detail) * wave(p.y, period: 0.62 * detail)
                secondShare = edge(cells * 3, soft)
            case 2:
                distance = abs(length(p) - 0.67) - 0.28
                // The quarters of a lifebelt.
                secondShare = edge(min(abs(p.x), abs(p.y)) - 0.12, soft)
            case 3:
                distance = star(p)
                secondShare = edge(length(p) - 0.22, soft)
            case 4: distance = min(max(abs(p.x) - 0.95, abs(p.y) - 0.3), max(abs(p.x) - 0.3, abs(p.y) - 0.95))
            case 5:
                distance = triangle(p)
                let cell = 0.42 * detail
                let q = SIMD2(p.x - (p.x / cell).rounded() * cell, p.y - (p.y / cell).rounded() * cell)
                secondShare = edge(length(q) - 0.3 * cell, soft)
            case 6: distance = max(length(p) - 0.95, 0.7 - length(p - SIMD2(0.5, 0)))
            case 7:
                let q = SIMD2(abs(p.x), abs(p.y))
                distance = length(q - SIMD2(0.46, 0.46)) - 0.46
                secondShare = edge(length(q - SIMD2(0.46, 0.46)) - 0.2, soft)
            case 8:
                let shaft = max(abs(p.x + 0.45) - 0.5, abs(p.y) - 0.17)
                let head = max(-p.x - 0.02, (p.x - 0.95) * 0.62 + abs(p.y) * 0.78)
                distance = min(shaft, head)
            case 9:
                distance = length(p) - 0.95
                secondShare = edge(wave(length(p), period: 0.62 * detail), soft)
            case 10: distance = abs(max(abs(p.x), abs(p.y)) - 0.58) - 0.24
            case 11: distance = max(abs(p.y) - 0.9, (abs(p.x) - abs(p.y) - 0.06) * 0.7)
            case 12:
                distance = length(p) - 0.95
                secondShare = edge(sin(atan2(p.y, p.x) * 5) * length(p) * 0.3, soft)
            default:
                distance = (abs(p.x) + abs(p.y) - 1.05) * 0.7
                secondShare = edge(wave(p.y, period: 0.42 * detail), soft)
            }
            // A rim in the second colour separates the object from the background.
            let inside = clamped((-distance * radius - rim) / pixel + 0.5)
            let share = max(secondShare, 1 - inside)
            return (distance * radius, first + (second - first) * share, 1)
        }
    }

    private static func colour(_ random: inout Philox) -> SIMD3<Float> {
        let range: ClosedRange<Float> = 0.05...0.95
        return SIMD3(random.uniform(in: range), random.uniform(in: range), random.uniform(in: range))
    }

    /// Moves a colour towards black or white until it has this lightness (luma of ITU-R BT.601).
    private static func withLightness(_ colour: SIMD3<Float>, _ target: Float) -> SIMD3<Float> {
        let lightness = (colour * SIMD3(0.299, 0.587, 0.114)).sum()
        if lightness > target { return colour * (target / lightness) }
        return colour + (1 - colour) * ((target - lightness) / (1 - lightness))
    }

    private static func length(_ vector: SIMD2<Float>) -> Float { (vector * vector).sum().squareRoot() }

    /// Returns the distance to the nearest border of stripes: a triangle wave of height ±period/4.
    private static func wave(_ x: Float, period: Float) -> Float {
        let phase = x / period - (x / period).rounded(.down)
        return (abs(phase - 0.5) - 0.25) * period
    }

    private static func edge(_ distance: Float, _ soft: Float) -> Float { clamped(0.5 - distance / soft) }

    /// Returns the distance to a five-pointed star.
    ///
    /// It is the distance to the line from a tip to the notch beside it, in the tenth of the turn that both
    /// share.
    private static func star(_ p: SIMD2<Float>) -> Float {
        let radius = length(p)
        let fifth = 2 * Float.pi / 5
        let angle = atan2(p.y, p.x)
        let folded = abs(angle - (angle / fifth).rounded() * fifth)
        let q = SIMD2(radius * cos(folded), radius * sin(folded))
        let tip = SIMD2<Float>(1, 0)
        let notch = SIMD2<Float>(0.42 * cos(fifth / 2), 0.42 * sin(fifth / 2))
        let along = notch - tip
        let normal = SIMD2(along.y, -along.x) / length(along)
        return ((q - tip) * normal).sum()
    }

    /// Returns the distance to an equilateral triangle.
    private static func triangle(_ p: SIMD2<Float>) -> Float {
        max(-p.x, 0.5 * p.x + 0.866 * abs(p.y)) - 0.52
    }
}

private func clamped(_ value: Float) -> Float { min(max(value, 0), 1) }

/// Makes a picture of the same scene harder, by other formulas than the augmentation of training photographs.
private struct Conditions {
    private let turn: (cosine: Float, sine: Float)
    /// Above 0 barrel, below 0 pincushion (division model).
    private let bend: Float
    private let light: SIMD3<Float>
    private let fallOff: Float

    /// Draws all conditions, so that one hardship by itself is the same as among others.
    init(_ random: inout Philox, _ hardships: Set<Scenes.Hardship>) {
        let angle = random.uniform(in: 0.1...0.45) * (random.integer(below: 2) == 0 ? -1 : 1)
        let lens = random.uniform(in: -0.6...0.6)
        let exposure = random.uniform(in: 0.45...0.85)
        let colour = SIMD3(
            random.uniform(in: 0.75...1.3), random.uniform(in: 0.8...1.2), random.uniform(in: 0.75...1.3))
        let corners = random.uniform(in: 0.2...1.2)
        turn = hardships.contains(.turn) ? (cos(angle), sin(angle)) : (1, 0)
        bend = hardships.contains(.lens) ? lens : 0
        light = (hardships.contains(.dim) ? exposure : 1) * (hardships.contains(.colour) ? colour : .one)
        fallOff = hardships.contains(.falloff) ? corners : 0
    }

    /// Returns the point of the scene that is seen at a point of the picture; both are in parts of the side.
    func scenePoint(_ seen: SIMD2<Float>) -> SIMD2<Float> {
        let p = seen - 0.5
        let bent = p / (1 - bend * (p * p).sum())
        return SIMD2(turn.cosine * bent.x + turn.sine * bent.y, turn.cosine * bent.y - turn.sine * bent.x)
            + 0.5
    }

    /// Returns the colour that the camera records: cos⁴ fall-off of a lens, and the light.
    func lit(_ colour: SIMD3<Float>, at seen: SIMD2<Float>) -> SIMD3<Float> {
        let p = seen - 0.5
        let cosine = 1 / (1 + fallOff * (p * p).sum())
        return colour * light * (cosine * cosine)
    }
}

/// Holds a square picture in linear floats, 0…1; coordinates are in parts of the side.
private struct Canvas {
    let size: Int
    /// One pixel in parts of the side.
    let pixel: Float
    private var colours: [SIMD3<Float>]
    private let conditions: Conditions?

    init(size: Int, conditions: Conditions? = nil) {
        self.size = size
        self.conditions = conditions
        pixel = 1 / Float(size)
        colours = Array(repeating: SIMD3(), count: size * size)
    }

    mutating func gradient(from: SIMD3<Float>, to: SIMD3<Float>, angle: Float) {
        let direction = SIMD2(cos(angle), sin(angle))
        for y in 0..<size {
            for x in 0..<size {
                let seen = SIMD2(Float(x), Float(y)) * pixel
                let point = (conditions?.scenePoint(seen) ?? seen) - 0.5
                colours[y * size + x] = from + (to - from) * ((point * direction).sum() * 0.7 + 0.5)
            }
        }
    }

    /// Paints a shape with antialiased borders.
    ///
    /// - Parameters:
    ///   - reach: the distance from the centre beyond which nothing is painted.
    ///   - shape: returns signed distance, colour and opacity for each point.
    mutating func paint(
        centre: SIMD2<Float>, reach: Float, turn: Float,
        _ shape: (SIMD2<Float>) -> (distance: Float, colour: SIMD3<Float>, opacity: Float)
    ) {
        let (cosine, sine) = (cos(turn), sin(turn))
        func span(_ middle: Float) -> Range<Int> {
            if conditions != nil { return 0..<size }
            let low = max(0, Int((middle - reach) * Float(size)) - 1)
            return low..<max(low, min(size, Int((middle + reach) * Float(size)) + 2))
        }
        for y in span(centre.y) {
            for x in span(centre.x) {
                let seen = (SIMD2(Float(x), Float(y)) + 0.5) * pixel
                let offset = (conditions?.scenePoint(seen) ?? seen) - centre
                let point = SIMD2(cosine * offset.x + sine * offset.y, cosine * offset.y - sine * offset.x)
                let (distance, colour, opacity) = shape(point)
                let cover = clamped(0.5 - distance / pixel) * opacity
                if cover > 0 { colours[y * size + x] += (colour - colours[y * size + x]) * cover }
            }
        }
    }

    /// Returns the picture in bytes, with a little grain.
    func encoded(_ random: inout Philox) -> DecodedImage {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(3 * size * size)
        for (index, drawn) in colours.enumerated() {
            let seen = SIMD2(Float(index % size), Float(index / size)) * pixel
            let colour = conditions?.lit(drawn, at: seen) ?? drawn
            let grain = (random.uniform() - 0.5) * 0.06
            for channel in 0..<3 {
                bytes.append(UInt8(min(max((colour[channel] + grain) * 255 + 0.5, 0), 255)))
            }
        }
        return DecodedImage(width: size, height: size, pixels: bytes)
    }
}
