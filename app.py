"""DELIFT Studio: `streamlit run app.py`. The table of pages is in pages/ui/navigation.py."""

from pages.ui.navigation import enter

enter().run()
