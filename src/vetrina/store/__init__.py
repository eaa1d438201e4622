"""What must survive: tables, bundles, the folder of a shop."""
