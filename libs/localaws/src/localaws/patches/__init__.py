"""What ministack 1.5.33 gets wrong, mended: one module per subject, one name per fault."""
