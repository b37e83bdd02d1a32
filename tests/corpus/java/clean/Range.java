package clean;

import java.util.Objects;
import java.util.Optional;

/** Whole numbers from `from` up to, and without, `to`. */
public final class Range {
    private final long from;
    private final long to;

    public Range(long from, long to) {
        if (to < from) {
            throw new IllegalArgumentException("a range cannot end before it begins");
        }
        this.from = from;
        this.to = to;
    }

    public boolean contains(long number) {
        return from <= number && number < to;
    }

    public Optional<Range> intersection(Range other) {
        long start = Math.max(from, other.from);
        long end = Math.min(to, other.to);
        return start < end ? Optional.of(new Range(start, end)) : Optional.empty();
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Range range && range.from == from && range.to == to;
    }

    @Override
    public int hashCode() {
        return Objects.hash(from, to);
    }
}
