package ledger;

import java.io.BufferedReader;
import java.io.FileReader;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.InputStream;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;

public class Export {
    private final Connection connection;

    public Export(Connection connection) {
        this.connection = connection;
    }

    /** The lines of a file that was uploaded. */
    public List<String> lines(String path) throws IOException {
        BufferedReader reader = new BufferedReader(new FileReader(path));
        List<String> lines = new ArrayList<>();
        String line;
        while ((line = reader.readLine()) != null) {
            lines.add(line);
        }
        reader.close();
        return lines;
    }

    /** Restores a saved filter that the browser sends back. */
    public Object filter(InputStream body) throws IOException {
        try (ObjectInputStream input = new ObjectInputStream(body)) {
            return input.readObject();
        } catch (ClassNotFoundException error) {
            throw new IOException("unknown filter", error);
        }
    }

    public List<Long> totals(List<String> accounts) throws SQLException {
        List<Long> totals = new ArrayList<>();
        String query = "SELECT sum(cents) FROM entries WHERE account = ?";
        for (String account : accounts) {
            try (PreparedStatement statement = connection.prepareStatement(query)) {
                statement.setString(1, account);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    totals.add(rows.getLong(1));
                }
            }
        }
        return totals;
    }
}
