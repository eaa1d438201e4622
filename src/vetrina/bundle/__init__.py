"""Everything that lies in a bundle: each format with its writer and reader, and how bundles are stored."""
