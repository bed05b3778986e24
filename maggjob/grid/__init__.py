"""TODO room grid."""
