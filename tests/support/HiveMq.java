import com.hivemq.embedded.EmbeddedHiveMQ;
import java.nio.file.Path;

/** HiveMQ with its folders conf, data and extensions in the folder that is named; SIGTERM stops it in order. */
public class HiveMq {
    /** Said once it has begun all its work; it accepts connections earlier. */
    private static final String STARTED = "all of HiveMQ has started";

    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder()
            .withConfigurationFolder(folder.resolve("conf"))
            .withDataFolder(folder.resolve("data"))
            .withExtensionsFolder(folder.resolve("extensions"))
            .build();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> broker.stop().join()));
        broker.start().join();
        System.out.println(STARTED);
        Thread.currentThread().join();
    }
}
