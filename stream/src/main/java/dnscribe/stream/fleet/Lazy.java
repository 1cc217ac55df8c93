package dnscribe.stream.fleet;

import java.util.function.BiConsumer;
import java.util.function.Function;

/**
 * A sketch that is decoded when it is merged or queried; most are only passed on. One that a node
 * has masked is not known, and neither is what it is merged into.
 */
final class Lazy<S> {
  /** What a kind of sketch can do. */
  interface Codec<S> {
    /** Adds the values of an encoded sketch, as {@link #parse} reads it, to {@code sketch}. */
    void merge(S sketch, byte[] encoded);

    byte[] encode(S sketch);

    /** Decodes; throws {@link IllegalArgumentException} if the bytes are no such sketch. */
    S parse(byte[] encoded);

    static <S> Codec<S> of(
        BiConsumer<S, byte[]> merge, Function<S, byte[]> encode, Function<byte[], S> parse) {
      return new Codec<>() {
        @Override
        public void merge(S sketch, byte[] encoded) {
          merge.accept(sketch, encoded);
        }

        @Override
        public byte[] encode(S sketch) {
          return encode.apply(sketch);
        }

        @Override
        public S parse(byte[] encoded) {
          return parse.apply(encoded);
        }
      };
    }
  }

  static final Codec<LatencySketch> LATENCY =
      Codec.of(LatencySketch::merge, LatencySketch::encode, LatencySketch::parse);
  static final Codec<DistinctSketch> DISTINCT =
      Codec.of(DistinctSketch::merge, DistinctSketch::encode, DistinctSketch::parse);
  static final Codec<FrequentSketch> FREQUENT =
      Codec.of(FrequentSketch::merge, FrequentSketch::encode, FrequentSketch::parse);

  private final Codec<S> codec;

  private static final byte[] MASKED = {};

  /** Bytes of the sketch: none if it is masked; null if it has changed since, or is absent. */
  private byte[] encoded;

  private S sketch;

  Lazy(Codec<S> codec) {
    this.codec = codec;
  }

  void set(byte[] bytes) {
    encoded = bytes;
    sketch = null;
  }

  void set(S value) {
    encoded = null;
    sketch = value;
  }

  void mask() {
    set(MASKED);
  }

  void clear() {
    encoded = null;
    sketch = null;
  }

  boolean isMasked() {
    return encoded != null && encoded.length == 0;
  }

  /** Returns whether there is a sketch that can be read. */
  boolean isPresent() {
    return !isMasked() && (encoded != null || sketch != null);
  }

  /** Returns the decoded sketch, for reading only; null if it is absent or masked. */
  S get() {
    if (sketch == null && isPresent()) {
      sketch = codec.parse(encoded);
    }
    return sketch;
  }

  /** Returns the encoded sketch: empty if it is masked, null if it is absent. */
  byte[] encode() {
    if (encoded == null && sketch != null) {
      encoded = codec.encode(sketch);
    }
    return encoded;
  }

  void merge(Lazy<S> other) {
    if (isMasked() || other.isMasked()) {
      mask();
      return;
    }
    if (!other.isPresent()) {
      return;
    }
    if (!isPresent()) {
      set(other.encode());
      return;
    }
    codec.merge(get(), other.encode());
    encoded = null;
  }
}
