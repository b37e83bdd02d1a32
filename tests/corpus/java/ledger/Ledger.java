package ledger;

import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Entries of all accounts; used by the request threads of the server. */
public class Ledger {
    private static final SimpleDateFormat FORMAT = new SimpleDateFormat("yyyy-MM-dd");
    private static Ledger instance;

    private final Map<String, List<Entry>> entries = new HashMap<>();

    public static Ledger get() {
        if (instance == null) {
            synchronized (Ledger.class) {
                if (instance == null) {
                    instance = new Ledger();
                }
            }
        }
        return instance;
    }

    public synchronized void add(String account, Entry entry) {
        entries.computeIfAbsent(account, key -> new ArrayList<>()).add(entry);
    }

    public synchronized long balance(String account) {
        long sum = 0;
        for (Entry entry : entries.getOrDefault(account, List.of())) {
            sum += entry.cents();
        }
        return sum;
    }

    public boolean isClosing(Entry entry) {
        return entry.kind() == "closing";
    }

    public static String day(Date date) {
        return FORMAT.format(date);
    }

    public record Entry(String kind, long cents, Date date) {}
}
