"""Clinical trial segments (CSR, CSP, CSS, CTI) to ResearchStudy, ResearchSubject, Consent."""
