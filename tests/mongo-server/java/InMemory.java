import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

/** A MongoDB server in memory, for the benchmark: java -cp 'lib/*' InMemory.java HOST PORT; SIGTERM ends it. */
class InMemory {
	public static void main(String[] arguments) {
		new MongoServer(new MemoryBackend()).bind(arguments[0], Integer.parseInt(arguments[1]));
	}
}
