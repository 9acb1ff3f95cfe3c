"""DELIFT Studio: `streamlit run app.py`. The table of pages is in pages/ui/navigation.py.

Streamlit imports this file once, as the server's description, and runs it as `__main__` for each visit.
"""

if __name__ == "__main__":
    from pages.ui.navigation import enter

    enter().run()
else:
    from streamlit.starlette import App

    from pages.ui.serving import lifespan

    app = App(__file__, lifespan=lifespan)
