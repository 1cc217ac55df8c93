package dnscribe.stream.fleet;

import dnscribe.stream.kafka.ValueType;
import java.io.IOException;
import java.lang.reflect.Type;
import java.util.Map;
import org.apache.flink.api.common.typeinfo.TypeInfoFactory;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.StringValue;

/** Type of {@link WindowSums} for Flink: sketches travel and are stored in their own encodings. */
public final class WindowSumsTypeFactory extends TypeInfoFactory<WindowSums> {
  @Override
  public TypeInformation<WindowSums> createTypeInfo(
      Type type, Map<String, TypeInformation<?>> parameters) {
    return new ValueType<>(WindowSums.class, Serializer.INSTANCE);
  }

  /** Serializer with a version, so that a later form can read the state of this one. */
  public static final class Serializer extends TypeSerializerSingleton<WindowSums> {
    static final Serializer INSTANCE = new Serializer();
    private static final int VERSION = 2;

    @Override
    public boolean isImmutableType() {
      return false;
    }

    @Override
    public WindowSums createInstance() {
      return new WindowSums();
    }

    @Override
    public WindowSums copy(WindowSums from) {
      try {
        DataOutputSerializer out = new DataOutputSerializer(1024);
        serialize(from, out);
        return deserialize(new DataInputDeserializer(out.wrapAsByteBuffer()));
      } catch (IOException impossible) {
        throw new IllegalStateException(impossible);
      }
    }

    @Override
    public WindowSums copy(WindowSums from, WindowSums reuse) {
      return copy(from);
    }

    @Override
    public int getLength() {
      return -1;
    }

    @Override
    public void serialize(WindowSums sums, DataOutputView out) throws IOException {
      out.writeByte(VERSION);
      out.writeByte(
          (sums.isSampled ? 1 : 0)
              | (sums.hasExact ? 2 : 0)
              | (sums.isPartial ? 4 : 0)
              | (sums.isUndercounted ? 8 : 0));
      out.writeByte(sums.counters.length);
      for (long counter : sums.counters) {
        out.writeLong(counter);
      }
      out.writeDouble(sums.latencyMaxMs);
      out.writeDouble(sums.estimatedTransactions);
      out.writeDouble(sums.lowSquared);
      out.writeDouble(sums.highSquared);
      write(sums.rcodes, out);
      write(sums.qtypes, out);
      write(sums.exactRcodes, out);
      write(sums.qnameEntropy, out);
      write(sums.labelLengths, out);
      write(sums.minTtls, out);
      for (Lazy<?> sketch : sums.sketches()) {
        byte[] bytes = sketch.encode();
        out.writeInt(bytes == null ? -1 : bytes.length);
        if (bytes != null) {
          out.write(bytes);
        }
      }
      for (DistinctCount count : sums.distinctCounts()) {
        out.writeDouble(count.maskedEstimate);
        out.writeDouble(count.maskedLower);
        out.writeDouble(count.maskedUpper);
      }
    }

    @Override
    public WindowSums deserialize(DataInputView in) throws IOException {
      int version = in.readByte();
      if (version > VERSION) {
        throw new IOException("sums of version " + version + ": made by a newer job");
      }
      WindowSums sums = new WindowSums();
      int flags = in.readByte();
      sums.isSampled = (flags & 1) != 0;
      sums.hasExact = (flags & 2) != 0;
      sums.isPartial = (flags & 4) != 0;
      sums.isUndercounted = (flags & 8) != 0;
      int counters = in.readByte();
      for (int i = 0; i < counters; i++) {
        sums.counters[i] = in.readLong();
      }
      sums.latencyMaxMs = in.readDouble();
      sums.estimatedTransactions = in.readDouble();
      sums.lowSquared = in.readDouble();
      sums.highSquared = in.readDouble();
      read(sums.rcodes, in);
      read(sums.qtypes, in);
      read(sums.exactRcodes, in);
      read(sums.qnameEntropy, in);
      read(sums.labelLengths, in);
      read(sums.minTtls, in);
      for (Lazy<?> sketch : sums.sketches()) {
        int length = in.readInt();
        if (length >= 0) {
          byte[] bytes = new byte[length];
          in.readFully(bytes);
          sketch.set(bytes);
        }
      }
      // Version 1 knew no masked sketches.
      if (version > 1) {
        for (DistinctCount count : sums.distinctCounts()) {
          count.maskedEstimate = in.readDouble();
          count.maskedLower = in.readDouble();
          count.maskedUpper = in.readDouble();
        }
      }
      return sums;
    }

    @Override
    public WindowSums deserialize(WindowSums reuse, DataInputView in) throws IOException {
      return deserialize(in);
    }

    @Override
    public void copy(DataInputView in, DataOutputView out) throws IOException {
      serialize(deserialize(in), out);
    }

    @Override
    public TypeSerializerSnapshot<WindowSums> snapshotConfiguration() {
      return new Snapshot();
    }

    private static void write(Map<String, Long> counts, DataOutputView out) throws IOException {
      out.writeInt(counts.size());
      for (Map.Entry<String, Long> count : counts.entrySet()) {
        StringValue.writeString(count.getKey(), out);
        out.writeLong(count.getValue());
      }
    }

    private static void read(Map<String, Long> counts, DataInputView in) throws IOException {
      int size = in.readInt();
      for (int i = 0; i < size; i++) {
        counts.put(StringValue.readString(in), in.readLong());
      }
    }

    private static void write(Histogram histogram, DataOutputView out) throws IOException {
      out.writeInt(histogram.counts.length);
      for (int i = 0; i < histogram.counts.length; i++) {
        out.writeDouble(histogram.bounds[i]);
        out.writeLong(histogram.counts[i]);
      }
    }

    private static void read(Histogram histogram, DataInputView in) throws IOException {
      int size = in.readInt();
      histogram.bounds = new double[size];
      histogram.counts = new long[size];
      for (int i = 0; i < size; i++) {
        histogram.bounds[i] = in.readDouble();
        histogram.counts[i] = in.readLong();
      }
    }
  }

  /** Snapshot of the serializer in savepoints. */
  public static final class Snapshot extends SimpleTypeSerializerSnapshot<WindowSums> {
    /** Creates a snapshot. */
    public Snapshot() {
      super(() -> Serializer.INSTANCE);
    }
  }
}
